"""Calls whose arguments stand in tags, each on its own: strings as they are, other values as JSON.

Owns the tables of the families that write calls so, and their grammar. Arguments come in the schema's order;
where it names properties, no others are offered. Pure; any thread.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from llmatic.engines.chat.syntax import CallReader, Function, Mark, Sections
from llmatic.engines.chat.syntax.parameters import JSON_TYPES, Parameter, Texts, other_parameter, parameters
from llmatic.engines.chat.syntax.texts import KEY, Rules, closed_text, one_of
from llmatic.engines.chat.syntax.xml_reader import XmlReader
from llmatic.engines.constraints.grammars import schema_rules


@dataclass(frozen=True, slots=True)
class XmlCalls:
    """A section is: its opener, calls, `close`.

    A call: `call`, the name, `named`, arguments, `called`. An argument: `argument`, its key, `keyed`, its
    value, `ended`. All as the family's template writes them. In `named`, "$index" is the call's number; in
    `keyed`, "$type" is what `kinds` says of the value's JSON type. An opener that ends with `call` begins a
    call. `is_pythonic`: True and False are written so. `is_escaped`: attributes escape & and ".
    """

    opens: tuple[str, ...]
    named: str
    argument: str
    keyed: str
    ended: str
    call: str = ""
    called: str = ""
    close: str = ""
    kinds: Mapping[str, str] = field(default_factory=dict, hash=False)
    is_repeated: bool = False
    is_pythonic: bool = False
    is_escaped: bool = False
    has_cdata: bool = False

    @property
    def is_on_own_lines(self) -> bool:
        """Whether one newline before and behind a value belongs to the tags."""
        return self.keyed.endswith("\n") and self.ended.startswith("\n")

    def reader(self, opened_by: str, functions: Sequence[Function] = ()) -> CallReader:
        """See CallSyntax."""
        return XmlReader(self, opened_by, functions)

    def sections(
        self, functions: Sequence[Function], mark: Mark, *, prefix: str, is_parallel: bool
    ) -> Sections:
        """See CallSyntax."""
        rules = Rules(f"{prefix}r")
        index = rules.terminal("/[1-9][0-9]?/") if "$index" in self.named else ""
        calls = [self._call(rules, function, index, mark) for function in functions]
        rest = rules.rule(" | ".join(calls))
        begin, close = _marked(mark, self.call), _marked(mark, self.close)
        several = f"({begin} {rest})*" if is_parallel and self.call and not self.is_repeated else ""
        bodies = {}
        for opener in self.opens:
            is_begun = bool(self.call) and opener.endswith(self.call.strip())
            bodies[opener] = rules.rule(_joined("" if is_begun else begin, rest, several, close))
        return Sections("\n".join(rules.lines), tuple(bodies.items()))

    def _call(self, rules: Rules, function: Function, index: str, mark: Mark) -> str:
        before, _, after = (function.name + self.named).partition("$index")
        parts = [_marked(mark, before), index and f"{index} {_marked(mark, after)}"]
        named, other = parameters(function), other_parameter(function)
        for parameter in named:
            key = self._escaped(parameter.name)
            argument = rules.rule(self._argument(rules, function, parameter, mark(self.argument + key), mark))
            parts.append(argument if parameter.is_required else argument + "?")
        if other and not named:
            key = f"{mark(self.argument)} {rules.terminal(KEY)}"
            parts.append(rules.rule(self._argument(rules, function, other, key, mark)) + "*")
        return rules.rule(_joined(*parts, _marked(mark, self.called)))

    def _escaped(self, key: str) -> str:
        return key.replace("&", "&amp;").replace('"', "&quot;") if self.is_escaped else key

    def _argument(
        self, rules: Rules, function: Function, parameter: Parameter, begin: str, mark: Mark
    ) -> str:
        """An expression for an argument. `begin`: that of all up to its key."""
        if not self.kinds:
            return f"{begin} {mark(self.keyed)} {self._value(rules, function, parameter, mark)}"
        ways = []
        for said in dict.fromkeys(self.kinds[name] for name in parameter.types):
            types = tuple(name for name in parameter.types if self.kinds[name] == said)
            head = f"{begin} {mark(self.keyed.replace('$type', said))}"
            if types == ("string",):
                ways.append(f"{head} {self._text(rules, parameter.texts, mark)}")
            else:
                ways.append(f"{head} {self._json(rules, function, parameter, types)} {mark(self.ended)}")
        return one_of(ways)

    def _value(self, rules: Rules, function: Function, parameter: Parameter, mark: Mark) -> str:
        """An expression for the value and what ends it."""
        ways = []
        if parameter.texts:
            ways.append(self._text(rules, parameter.texts, mark))
        if not any(texts.is_free for texts in parameter.texts):
            types = tuple(name for name in parameter.types if name != "string")
            if types:
                ways.append(f"{self._json(rules, function, parameter, types)} {mark(self.ended)}")
        return one_of(ways)

    def _text(self, rules: Rules, texts: Sequence[Texts], mark: Mark) -> str:
        tag = self.ended.strip()
        tail = _marked(mark, self.ended.partition(tag)[2])
        if not self.has_cdata:
            return _joined(closed_text(rules, texts, tag, mark, newline=self.is_on_own_lines), tail)
        wrapped = f"{mark('<![CDATA[')} {closed_text(rules, texts, ']]>' + tag, mark)}"
        return _joined(one_of([closed_text(rules, texts, tag, mark, without="<&\n"), wrapped]), tail)

    def _json(self, rules: Rules, function: Function, parameter: Parameter, types: tuple[str, ...]) -> str:
        name = rules.name()
        rules.lines.append(_value_rules(function, parameter, types, name))
        if self.is_pythonic and types == ("boolean",) and not {"const", "enum"} & parameter.schema.keys():
            return f'( {name} | "True" | "False" )'
        return name


def _value_rules(function: Function, parameter: Parameter, types: tuple[str, ...], name: str) -> str:
    if types == parameter.types and parameter.name in function.schema.get("properties", ()):
        return schema_rules(function.schema, name, path=("properties", parameter.name))
    return schema_rules(parameter.of_types(types), name)


def _marked(mark: Mark, text: str) -> str:
    return mark(text) if text else ""


def _joined(*parts: str) -> str:
    return " ".join(part for part in parts if part) or '""'


QWEN_XML = XmlCalls(
    opens=("<tool_call>", "<function="),
    call="\n<function=",
    named=">\n",
    argument="<parameter=",
    keyed=">\n",
    ended="\n</parameter>\n",
    called="</function>",
    close="\n</tool_call>",
    is_repeated=True,
    is_pythonic=True,
)
SEED_XML = XmlCalls(
    opens=("<seed:tool_call>",),
    call="\n<function=",
    named=">\n",
    argument="<parameter=",
    keyed=">",
    ended="</parameter>\n",
    called="</function>",
    close="\n</seed:tool_call>",
    is_repeated=True,
    is_pythonic=True,
)
GLM_46 = XmlCalls(
    opens=("<tool_call>",),
    named="\n",
    argument="<arg_key>",
    keyed="</arg_key>\n<arg_value>",
    ended="</arg_value>\n",
    close="</tool_call>",
    is_repeated=True,
)
GLM_47 = replace(GLM_46, named="", keyed="</arg_key><arg_value>", ended="</arg_value>")
LAGUNA = GLM_46
LING = replace(GLM_46, ended="</arg_value>", close="\n</tool_call>")
HY3 = XmlCalls(
    opens=("<tool_calls:opensource>",),
    call="\n<tool_call:opensource>",
    named="<tool_sep:opensource>\n",
    argument="<arg_key:opensource>",
    keyed="</arg_key:opensource>\n<arg_value:opensource>",
    ended="</arg_value:opensource>\n",
    called="</tool_call:opensource>",
    close="\n</tool_calls:opensource>",
)
MINIMAX_M2 = XmlCalls(
    opens=("<minimax:tool_call>",),
    call='\n<invoke name="',
    named='">\n',
    argument='<parameter name="',
    keyed='">',
    ended="</parameter>\n",
    called="</invoke>",
    close="\n</minimax:tool_call>",
)
ATEM = XmlCalls(
    opens=("<atem:function_calls>",),
    call='\n<atem:invoke name="',
    named='">\n',
    argument='<atem:parameter name="',
    keyed='">',
    ended="</atem:parameter>\n",
    called="</atem:invoke>",
    close="\n</atem:function_calls>",
)
DSML_V32 = XmlCalls(
    opens=("<｜DSML｜function_calls>",),
    call='\n<｜DSML｜invoke name="',
    named='">\n',
    argument='<｜DSML｜parameter name="',
    keyed='" string="$type">',
    ended="</｜DSML｜parameter>\n",
    called="</｜DSML｜invoke>",
    close="\n</｜DSML｜function_calls>",
    kinds={name: "true" if name == "string" else "false" for name in JSON_TYPES},
)
DSML_V4 = replace(DSML_V32, opens=("<｜DSML｜tool_calls>",), close="\n</｜DSML｜tool_calls>")
KIMI_K3 = XmlCalls(
    opens=("<|open|>tools<|sep|>",),
    call='<|open|>call tool="',
    named='" index="$index"<|sep|>',
    argument='<|open|>argument key="',
    keyed='" type="$type"<|sep|>',
    ended="<|close|>argument<|sep|>",
    called="<|close|>call<|sep|>",
    close="<|close|>tools<|sep|>",
    kinds={name: name for name in JSON_TYPES},
    is_escaped=True,
)
MINICPM5 = XmlCalls(
    opens=('<function name="',),
    call='<function name="',
    named='">',
    argument='<param name="',
    keyed='">',
    ended="</param>",
    called="</function>",
    is_repeated=True,
    is_pythonic=True,
    has_cdata=True,
)
