"""The prompt of /edits: a conversation, or plain text for a model that only continues texts.

Pure; any thread.
"""

from llmatic.core.types import ChatPrompt, Prompt, TextPrompt

_EDITOR = (
    "You edit texts. The user says what to do and gives a text. Do only that, and leave the rest of the text "
    "as it is. Reply with the whole edited text and nothing else: no explanation, no quotation marks "
    "around it."
)
_WRITER = (
    "You write texts. The user says what to write. Reply with the text and nothing else: no explanation, no "
    "quotation marks around it."
)

# Ends an edited text where the model goes on writing.
END_MARK = "\n###"

_PLAIN = f"""Each text below was edited as its instruction says.

Text:
she go to school
Instruction: Correct the grammar.
Edited text:
She goes to school.{END_MARK}

Text:
{{input}}
Instruction: {{instruction}}
Edited text:
"""


def edit_prompt(instruction: str, text: str, *, is_chat: bool) -> Prompt:
    """What asks for `text` edited by `instruction`, or for a new text if there is none.

    Not `is_chat`: plain text, in which the edited text ends at `END_MARK`.
    """
    if not is_chat:
        return TextPrompt(_PLAIN.format(input=text.strip("\n"), instruction=" ".join(instruction.split())))
    if not text.strip():
        return _chat(_WRITER, instruction)
    return _chat(_EDITOR, f"{instruction.strip().rstrip('.:')}:\n\n{text}")


def _chat(system: str, user: str) -> ChatPrompt:
    return ChatPrompt(({"role": "system", "content": system}, {"role": "user", "content": user}))
