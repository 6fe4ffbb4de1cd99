"""How families of models write their answers.

Owns the table: for each family what its chat template looks like, the markers of thinking, the syntax of
calls and what else is no content. The first entry that fits a template counts. Pure; any thread.
"""

from dataclasses import dataclass, replace

from llmatic.engines.chat.syntax import (
    CallSyntax,
    gemma_calls,
    json_calls,
    named_json,
    nested_xml,
    python_calls,
    xml_calls,
)


@dataclass(frozen=True, slots=True)
class Thinking:
    """The markers around thinking. `is_anywhere`: it may also come behind content.

    `ends`: what is written to end it where the model does not. `openings`: the ends of prompts that stand
    inside of thinking, if they are others than `open`.
    """

    open: str
    close: str
    ends: str = ""
    is_anywhere: bool = False
    openings: tuple[str, ...] = ()

    @property
    def ending(self) -> str:
        """The text that ends thinking."""
        return self.ends or self.close


@dataclass(frozen=True, slots=True)
class Family:
    """How one family of models writes answers.

    A template is of this family if it has all of `needs`, one of `needs_one` if there are any, and none of
    `lacks`. `preamble`: what may stand before content or calls, `content_open` and `content_close` what may
    stand around content, `epilogue` what may stand at the very end; they, and further `silent` markers, are
    neither content nor calls. `lead_in`: a prompt's end that is already the beginning of the answer,
    and `content_lead` what follows it where content follows. `call_lead`: what may announce a section, with
    "$name" for the function's. `is_harmony`: its own parser and grammar.
    """

    name: str
    calls: CallSyntax | None = None
    thinking: Thinking | None = None
    needs: tuple[str, ...] = ()
    needs_one: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    preamble: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    content_open: str = ""
    content_close: str = ""
    epilogue: str = ""
    lead_in: str = ""
    content_lead: str = ""
    call_lead: str = ""
    is_harmony: bool = False

    @property
    def has_reasoning(self) -> bool:
        """Whether models of this family think apart from their answers."""
        return self.thinking is not None or self.is_harmony

    @property
    def unseen(self) -> tuple[str, ...]:
        """The markers that are neither content nor calls."""
        markers = (*self.preamble, self.content_open, self.content_close, self.epilogue, *self.silent)
        return tuple(dict.fromkeys(marker for marker in markers if marker))

    def counts_at_beginning(self, opener: str) -> bool:
        """Whether a section opens by `opener` only where nothing was written yet: it may be ordinary JSON."""
        return opener == "[" or opener.startswith("{")

    def fits(self, template_source: str) -> bool:
        """Whether a chat template is of this family."""
        return (
            all(text in template_source for text in self.needs)
            and (not self.needs_one or any(text in template_source for text in self.needs_one))
            and not any(text in template_source for text in self.lacks)
        )

    def with_generic_calls(self) -> "Family":
        """This family, told of tools in a system message and asked to write calls in the generic form."""
        return replace(self, calls=json_calls.HERMES, is_harmony=self.is_harmony)


THINK = Thinking("<think>", "</think>", ends="\n</think>\n\n")
_COMMAND = Thinking("<|START_THINKING|>", "<|END_THINKING|>")
_APRIEL = Thinking(
    "Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]", ends="\n[BEGIN FINAL RESPONSE]\n"
)

FAMILIES = (
    Family("gpt-oss", is_harmony=True, needs=("<|channel|>", "<|start|>")),
    Family(
        "muse",
        xml_calls.ATEM,
        Thinking(" to=self<|message|>", "<|eom|>"),
        needs=("<atem:function_calls>",),
        preamble=("<|start|>assistant",),
        content_open=" to=user<|message|>",
        silent=("<|eom|>",),
        call_lead=" to=$name<|message|>",
    ),
    Family(
        "functionary-v3.2",
        named_json.FUNCTIONARY_3_2,
        needs=(">>>all", ">>>${recipient}"),
        lead_in=">>>",
        content_lead="all\n",
    ),
    Family(
        "functionary-v3.1",
        named_json.FUNCTIONARY_3_1,
        needs=("<function=example_function_name>", "<|eom_id|>"),
    ),
    Family(
        "kimi-k3",
        xml_calls.KIMI_K3,
        Thinking("<|open|>think<|sep|>", "<|close|>think<|sep|>"),
        needs=("<|open|>", "<|close|>", "<|end_of_msg|>"),
        preamble=("<|open|>response<|sep|>", "<|close|>response<|sep|>"),
        epilogue="<|close|>message<|sep|>",
    ),
    Family("kimi-k2", named_json.KIMI_K2, needs=("<|tool_calls_section_begin|>",)),
    Family("deepseek-v4", xml_calls.DSML_V4, THINK, needs=("DSML", "tool_calls>")),
    Family("deepseek-v3.2", xml_calls.DSML_V32, THINK, needs=("DSML", "function_calls")),
    Family(
        "deepseek-v3.1",
        named_json.DEEPSEEK_V3_1,
        THINK,
        needs=("<｜tool▁calls▁begin｜>", "<｜tool▁sep｜>"),
        lacks=("```json",),
    ),
    Family("deepseek-r1", named_json.DEEPSEEK_R1, needs=("<｜tool▁call▁begin｜>",)),
    Family(
        "minimax-m3", nested_xml.MINIMAX_M3, Thinking("<mm:think>", "</mm:think>"), needs=("]<]minimax[>[",)
    ),
    Family("minimax-m2", xml_calls.MINIMAX_M2, THINK, needs=("<minimax:tool_call>",)),
    Family("minimax-m1", json_calls.MINIMAX_M1, THINK, needs=("<beginning_of_sentence>", "<tool_calls>")),
    Family(
        "hunyuan",
        xml_calls.HY3,
        Thinking("<think:opensource>", "</think:opensource>"),
        needs=("<tool_sep", "<arg_key"),
    ),
    Family("ling", xml_calls.LING, THINK, needs=("<role>ASSISTANT</role>", "<arg_key>")),
    Family(
        "laguna-xs",
        xml_calls.LAGUNA,
        THINK,
        needs=("</assistant>", "</arg_key>\\n"),
        epilogue="</assistant>",
    ),
    Family("laguna", xml_calls.GLM_47, THINK, needs=("</assistant>", "<arg_key>"), epilogue="</assistant>"),
    Family("glm-4.6", xml_calls.GLM_46, THINK, needs=("<arg_key>", "<|assistant|>", "/nothink")),
    Family("glm-4.7", xml_calls.GLM_47, THINK, needs=("<arg_key>",)),
    Family(
        "seed-oss",
        xml_calls.SEED_XML,
        Thinking("<seed:think>", "</seed:think>"),
        needs=("<seed:think>",),
    ),
    Family("minicpm5", xml_calls.MINICPM5, THINK, needs=('<function name="', '<param name="')),
    Family("qwen3-coder", xml_calls.QWEN_XML, needs=("<tool_call>", "<function=", "<parameter=")),
    Family(
        "gemma-4",
        gemma_calls.GEMMA4,
        Thinking("<|channel>thought\n", "<channel|>", is_anywhere=True, openings=("<|channel>thought",)),
        needs=("<|tool_call>call:", "<|channel>"),
    ),
    Family("function-gemma", gemma_calls.FUNCTION_GEMMA, needs=("<start_function_call>",)),
    Family(
        "lfm2",
        python_calls.LFM2,
        needs_one=("<|tool_call_start|>", "<|tool_list_start|>", "List of tools: ["),
    ),
    Family(
        "command-r7b",
        json_calls.COMMAND_R7B,
        _COMMAND,
        needs=("<|START_ACTION|>", "<|START_RESPONSE|>"),
        content_open="<|START_RESPONSE|>",
        content_close="<|END_RESPONSE|>",
    ),
    Family(
        "command-a",
        json_calls.COMMAND_R7B,
        _COMMAND,
        needs=("<|START_ACTION|>",),
        content_open="<|START_TEXT|>",
        content_close="<|END_TEXT|>",
    ),
    Family("command-r", json_calls.COMMAND_R_PLUS, needs=("Action:", "<|CHATBOT_TOKEN|>")),
    Family(
        "apertus",
        json_calls.APERTUS,
        Thinking("<|inner_prefix|>", "<|inner_suffix|>"),
        needs=("<|tools_prefix|>",),
    ),
    Family(
        "apriel",
        json_calls.APRIEL,
        _APRIEL,
        needs=("<tool_calls>[", "[BEGIN FINAL RESPONSE]"),
        silent=("[END FINAL RESPONSE]",),
    ),
    Family(
        "solar",
        named_json.SOLAR,
        Thinking("<|think|>", "<|end|>", ends="<|end|><|begin|>assistant"),
        needs=("<|tool_call:begin|>",),
        preamble=("<|begin|>assistant",),
        content_open="<|content|>",
    ),
    Family("mistral-call-id", named_json.MISTRAL_CALL_ID, needs=("[TOOL_CALLS]", "[CALL_ID]", "[ARGS]")),
    Family("mistral", named_json.MISTRAL_NEW, needs=("[TOOL_CALLS]", "[ARGS]")),
    Family("mistral-nemo", json_calls.MISTRAL_OLD, needs=("[TOOL_CALLS]",)),
    Family("nemotron-v2", json_calls.NEMOTRON_V2, THINK, needs=("<TOOLCALL>",)),
    Family(
        "gigachat-3.1",
        json_calls.GIGACHAT_3_1,
        needs=("<|function_call|>", "<|role_sep|>"),
        silent=("<|message_sep|>",),
    ),
    Family(
        "gigachat-3",
        json_calls.GIGACHAT_3,
        needs=("<|role_sep|>", "<|message_sep|>"),
        preamble=("<|message_sep|>\n\n",),
    ),
    Family("firefunction", json_calls.FIREFUNCTION, needs=("functools",)),
    Family("phi-4", json_calls.PHI_4, needs_one=("<|/tool_call|>", "<|/tool|>")),
    Family(
        "granite-3",
        json_calls.GRANITE_3,
        THINK,
        needs=("<|start_of_role|>",),
        lacks=("<tool_call>",),
        silent=("<response>", "</response>"),
    ),
    Family(
        "pythonic",
        python_calls.PYTHONIC,
        needs=("[func_name1(",),
        silent=("<|python_start|>", "<|python_end|>"),
    ),
    Family("olmo-3", python_calls.OLMO3, needs=("<function_calls>",)),
    Family(
        "llama-3",
        json_calls.LLAMA_3,
        needs=('"parameters": ',),
        needs_one=("<|start_header_id|>", "<|header_start|>"),
        lacks=("<tool_call>",),
    ),
    Family("jamba", json_calls.JAMBA, needs=("<tool_calls>",)),
    Family("hermes", json_calls.HERMES, needs=("<tool_call>",)),
    Family("generic", json_calls.HERMES),
)

ALIASES = {
    "qwen": "hermes",
    "qwen2.5": "hermes",
    "qwen3": "hermes",
    "qwen3.5": "qwen3-coder",
    "nemotron-3": "qwen3-coder",
    "llama3": "llama-3",
    "llama-3.1": "llama-3",
    "llama-3.2": "llama-3",
    "llama-3.3": "llama-3",
    "granite-4": "hermes",
    "smollm3": "hermes",
    "harmony": "gpt-oss",
    "glm-4.5": "glm-4.6",
    "magistral": "mistral",
    "ministral": "mistral",
    "devstral": "mistral",
    "kimi-k2-thinking": "kimi-k2",
    "deepseek-v3": "deepseek-r1",
}
