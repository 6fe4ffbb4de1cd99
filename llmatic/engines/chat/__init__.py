"""Chat templates: messages in, the prompt's text out.

    source = template_source(spec.chat_template) if spec.chat_template else the model's own
    template = ChatTemplate(source, bos="<s>", eos="</s>")
    text = template.render(messages, now=now, template_kwargs=request.prompt.template_kwargs)

Names that a client sends belong into `template_kwargs`, never into `**`: there a name like `now` would
collide with the parameter instead of being refused.
"""

from llmatic.engines.chat.builtin import template_source
from llmatic.engines.chat.template import ChatTemplate, InvalidTemplate

__all__ = ["ChatTemplate", "InvalidTemplate", "template_source"]
