"""The prompt of /answers and what is read from the text behind it.

Owns the form of the prompt: what to do, a context with questions and answers as examples, the documents, the
question. It is the form of OpenAI's own answers. Pure; any thread.
"""

from collections.abc import Sequence

INSTRUCTION = "Please answer the question according to the above context."
RULE = "==="
BETWEEN_EXAMPLES = "---"

# What follows an answer in the prompt itself, and so in the text of a model that goes on after its answer.
MARKS = ("\nQ:", f"\n{BETWEEN_EXAMPLES}", f"\n{RULE}")


def answer_prompt(
    question: str, examples: Sequence[Sequence[str]], examples_context: str, documents: Sequence[str]
) -> str:
    """The text that ends where the answer begins.

    `examples`: pairs of a question and its answer, true in `examples_context`. `documents`: best first; in
    the prompt the best comes last, next to the question. Texts lose the white space at their ends.
    """
    pairs = [f"Q: {asked.strip()}\nA: {said.strip()}" for asked, said in examples]
    context = "\n".join(document.strip() for document in reversed(documents))
    parts = [INSTRUCTION, "", *_context(examples_context), f"\n{BETWEEN_EXAMPLES}\n".join(pairs)]
    parts += _context(context) or [BETWEEN_EXAMPLES]
    parts += [f"Q: {question.strip()}", "A:"]
    return "\n".join(parts)


def read_answer(text: str) -> str:
    """The answer at the beginning of what a model wrote, up to the first mark."""
    ends = [at for at in (text.find(mark) for mark in MARKS) if at >= 0]
    return text[: min(ends, default=len(text))].strip()


def _context(text: str) -> list[str]:
    return [RULE, f"Context: {text.strip()}", RULE] if text.strip() else []
