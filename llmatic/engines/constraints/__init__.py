"""Holding an answer to a form: JSON schemas, grammars and regular expressions over llguidance.

`grammars` is the door for constraints and functions: `strict` and `schemas` check and prepare JSON schemas,
`json_rules` and `gbnf` write Lark. `compiler` compiles and caches it for one vocabulary, within `budget`;
`matcher` follows one answer. Knows nothing of llama.cpp.
"""
