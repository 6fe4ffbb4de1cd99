"""Schemas written by hand, with answers that must be possible and answers that must not."""

from typing import Any

_LETTER = {"type": "object", "properties": {"a": {"type": "integer"}}}

# A schema, texts that must be possible, texts that must not.
CASES: dict[str, tuple[Any, list[str], list[str]]] = {
    "escapes": (
        {"type": "string"},
        ['"\\u0041"', '"\\u0000"', '"\\ud83d\\ude00"', '"\\/"', '"\\n"', '"é🙂"', '""'],
        ['"\\ud800"', '"\\ud83d\\u0041"', '"\\udc00"', '"\n"', '"\x00"', '"\x1f"', '"\\x41"', "'a'"],
    ),
    "length": (
        {"type": "string", "minLength": 2, "maxLength": 3},
        ['"ab"', '"é🙂a"', '"\\ud83d\\ude00a"'],
        ['"a"', '"abcd"'],
    ),
    "whitespace": (
        {"type": "object", "properties": {"a": {}, "b": {}}, "required": ["a"]},
        ['{"a":1,"b":2}', '{"a": 1, "b": 2}'],
        ['{ "a":1}', '{"a" :1}', '{"a":  1}', '{"a":\n1}', ' {"a":1}', '{"a":1 }', '{"a":1,\n"b":2}'],
    ),
    "order": (
        {**_LETTER, "properties": {"b": {}, "a": {}}},
        ['{"b":1,"a":1}', "{}", '{"a":1}'],
        ['{"a":1,"b":1}'],
    ),
    "closed by default": (_LETTER, ['{"a":1}', "{}"], ['{"a":1,"b":2}', '{"a":1,"a":2}', "3"]),
    "open when told": (
        {**_LETTER, "additionalProperties": True},
        ['{"a":1,"b":"x"}', '{"b":[{}]}'],
        ['{"a":"x"}', '{"\\u0061":"x"}', '{"b":1,"a":1}', '{"a":1,"a":"x"}'],
    ),
    "further values": (
        {"type": "object", "additionalProperties": {"type": "integer"}},
        ['{"x":1}', "{}"],
        ['{"x":"y"}'],
    ),
    "absent property stays out": (
        {"type": "object", "properties": {"a": False}, "additionalProperties": True},
        ["{}", '{"b":1}'],
        ['{"a":1}'],
    ),
    "names by pattern": (
        {"type": "object", "propertyNames": {"pattern": "^x"}, "maxProperties": 2},
        ["{}", '{"x":1,"xy":2}'],
        ['{"y":1}', '{"x":1,"xx":2,"xxx":3}'],
    ),
    "names from a list": (
        {"type": "object", "propertyNames": {"enum": ["a", "b"]}, "additionalProperties": {"type": "null"}},
        ["{}", '{"a":null,"b":null}'],
        ['{"c":null}', '{"a":1}'],
    ),
    "pattern properties": (
        {"type": "object", "patternProperties": {"^x": {"type": "integer"}}},
        ['{"x1":1}', "{}"],
        ['{"x1":"a"}', '{"y":1}'],
    ),
    "at least one": ({"type": "object", "minProperties": 1}, ['{"x":1}'], ["{}"]),
    "integer": (
        {"type": "integer"},
        ["0", "-1", "1234567890123456789"],
        ["-0", "01", "1.0", "1e3", "9" * 20],
    ),
    "number": (
        {"type": "number"},
        ["0", "-1.5", "6.02e23", "1e-5", "-0.0", "1E+280"],
        ["1e999", "1e290", "9" * 20, "01", ".5", "5.", "+1", "NaN"],
    ),
    "from 0": ({"type": "number", "minimum": 0}, ["0", "0.5", "1e-7", "1e30"], ["-1", "-0.1", "1e400"]),
    "above 0 and below 1": (
        {"exclusiveMinimum": 0, "maximum": 0.5},
        ["0.1", "0.5", "1e-9"],
        ["0", "0.0", "0.6", "-0"],
    ),
    "below 0 and above -1": (
        {"minimum": -0.5, "exclusiveMaximum": 0},
        ["-0.1", "-0.5"],
        ["0", "-0", "-0.0", "-0.6"],
    ),
    "probability": (
        {"type": "number", "minimum": 0, "maximum": 1},
        ["0", "1", "0.25", "1e-5", "9.9e-02"],
        ["1.1", "-0.1", "1e-0", "1e0", "5e1"],
    ),
    "excluded bounds": (
        {"type": "number", "exclusiveMinimum": 3, "exclusiveMaximum": 7.25},
        ["3.1", "7.2499"],
        ["3", "7.25", "7.2499999999999999999", "3.0"],
    ),
    "draft 4 bounds": ({"type": "number", "minimum": 3, "exclusiveMinimum": True}, ["3.1"], ["3"]),
    "safe integers": (
        {"type": "integer", "minimum": -(2**53 - 1), "maximum": 2**53 - 1},
        ["9007199254740991", "-9007199254740991", "0"],
        ["9007199254740992", "-9007199254740992"],
    ),
    "int32": ({"type": "integer", "format": "int32"}, ["2147483647", "-2147483648"], ["2147483648"]),
    "multiples": ({"type": "integer", "multipleOf": 7}, ["14", "-7", "0"], ["15"]),
    "whole multiples of a fraction": ({"type": "integer", "multipleOf": 1.5}, ["3", "6"], ["2", "1"]),
    "decimal multiples": ({"type": "number", "multipleOf": 0.25}, ["0.25", "-1.50", "2"], ["0.3"]),
    "exact constants": ({"const": 2**53 + 1}, ["9007199254740993"], ["9007199254740992"]),
    "constants": (
        {"enum": [1.5, "ä", None, True, {"x": [1]}]},
        ["1.5", '"ä"', "null", "true", '{"x":[1]}'],
        ["false", "1"],
    ),
    "constants of a type": ({"type": ["string", "null"], "enum": ["a", 1, None]}, ['"a"', "null"], ["1"]),
    "types": (
        {"type": ["integer", "string"], "minimum": 3, "maxLength": 1},
        ["3", '"a"'],
        ["2", '"ab"', "null"],
    ),
    "nullable": ({"type": "string", "nullable": True}, ["null", '"a"'], ["1"]),
    "implied types": ({"maxLength": 1}, ['"a"'], ["3", '"ab"']),
    "anything": ({}, ["null", '{"a":[1,{"b":""}]}', "3"], ["[1,]", "{1:2}", ""]),
    "true": (True, ["1"], ["x"]),
    "array": (
        {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2},
        ["[true]", "[true, false]"],
        ["[]", "[true,true,true]", "[1]"],
    ),
    "empty array": ({"type": "array", "maxItems": 0}, ["[]"], ["[1]"]),
    "tuple": (
        {
            "type": "array",
            "prefixItems": [{"type": "integer"}, {"type": "null"}],
            "minItems": 1,
            "items": {"const": "x"},
            "maxItems": 3,
        },
        ["[1]", "[1,null]", '[1,null,"x"]'],
        ["[]", "[null]", '[1,"x"]', '[1,null,"x","x"]'],
    ),
    "closed tuple": ({"type": "array", "prefixItems": [{}], "items": False}, ["[]", "[1]"], ["[1,2]"]),
    "old tuple": ({"items": [{"type": "integer"}], "additionalItems": False}, ["[1]"], ["[1,2]", '["a"]']),
    "anchored pattern": ({"type": "string", "pattern": "^a+$"}, ['"aa"'], ['"ba"', '"ab"', '""']),
    "pattern anywhere": ({"type": "string", "pattern": "b|c"}, ['"abd"', '"c"'], ['"ad"']),
    "pattern of ASCII classes": ({"type": "string", "pattern": r"^\d\w$"}, ['"1a"'], ['"٣a"', '"1é"']),
    "pattern and length": ({"pattern": "^a*$", "maxLength": 2}, ['"aa"', '""'], ['"aaa"']),
    "two patterns": (
        {"allOf": [{"pattern": "^a"}, {"pattern": "b"}, {"pattern": "z$"}], "type": "string"},
        ['"abz"'],
        ['"ab"', '"az"', '"bz"'],
    ),
    "two patterns and constants": (
        {"allOf": [{"pattern": "^a"}, {"pattern": "b"}, {"enum": ["ab", "a"]}]},
        ['"ab"'],
        ['"a"'],
    ),
    "named pattern": ({"type": "string", "format": "ulid", "pattern": "^[0-7]{2}$"}, ['"07"'], ['"08"']),
    "format that contradicts its pattern": (
        {"format": "time", "pattern": r"^\d\d:\d\d$"},
        ['"12:30"'],
        ['"12:30:00Z"'],
    ),
    "pattern that its format implies": (
        {
            "format": "duration",
            "pattern": r"^P(?:(\d+W)|(?!.*W)(?=\d|T\d)(\d+Y)?(\d+M)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+([.,]\d+)?S)?)?)$",
        },
        ['"P1Y2M"'],
        ['"P"'],
    ),
    "all finite numbers": (
        {"type": "number", "minimum": -1.7976931348623157e308, "maximum": 1.7976931348623157e308},
        ["1e20", "-5"],
        ["1e309"],
    ),
    "single precision": (
        {"type": "number", "minimum": -3.4028234663852886e38, "maximum": 3.4028234663852886e38},
        ["1e20", "-0.5"],
        ["1e39"],
    ),
    "nothing beside something": ({"anyOf": [{"not": {}}, {"type": "null"}]}, ["null"], ["1"]),
    "format and pattern": (
        {"format": "date", "pattern": "^2024"},
        ['"2024-02-29"'],
        ['"2023-01-01"', '"2024-02-30"'],
    ),
    "union beside keywords": (
        {
            "type": "object",
            "properties": {"k": {}},
            "required": ["k"],
            "anyOf": [{"required": ["x"], "properties": {"x": {}}}, {"properties": {"k": {"const": 1}}}],
        },
        ['{"k":2,"x":3}', '{"k":1}'],
        ['{"k":2}', '{"x":3}'],
    ),
    "tagged union": (
        {
            "oneOf": [
                {"properties": {"t": {"const": c}, c: {}}, "required": ["t", c], "type": "object"}
                for c in "ab"
            ]
        },
        ['{"t":"a","a":1}', '{"t":"b","b":1}'],
        ['{"t":"a","b":1}'],
    ),
    "tagged union without types": (
        {"oneOf": [{"properties": {"t": {"const": c}}, "required": ["t"]} for c in "ab"]},
        ['{"t":"a"}', '{"t":"b"}'],
        ['{"t":"c"}', "null"],
    ),
    "both of nothing": ({"anyOf": [{"allOf": [True, False]}, {"const": 1}]}, ["1"], ["2", '"a"']),
    "names from a narrowed list": (
        {"type": "object", "propertyNames": {"enum": ["a", "bc"], "maxLength": 1}},
        ["{}", '{"a":1}'],
        ['{"bc":1}'],
    ),
    "both": (
        {
            "allOf": [
                {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
                {"properties": {"a": {"minimum": 3}, "b": {}}},
            ]
        },
        ['{"a":3}', '{"a":4,"b":""}'],
        ['{"a":2}', "{}"],
    ),
    "both, one closed": (
        {"allOf": [{"properties": {"a": {}}, "additionalProperties": False}, {"properties": {"b": {}}}]},
        ['{"a":3}', "{}"],
        ['{"b":2}'],
    ),
    "two unions at once": (
        {
            "allOf": [
                {"anyOf": [{"minLength": 2}, {"const": "a"}]},
                {"anyOf": [{"maxLength": 3}, {"const": "b"}]},
            ],
            "type": "string",
        },
        ['"ab"', '"abc"', '"a"'],
        ['"abcd"', '"b"', '""'],
    ),
    "reference beside keywords": (
        {"$ref": "#/$defs/s", "maxLength": 2, "$defs": {"s": {"type": "string", "minLength": 1}}},
        ['"a"'],
        ['""', '"abc"'],
    ),
    "reference to a part": (
        {"type": "object", "properties": {"a/b": {"type": "integer"}, "c": {"$ref": "#/properties/a~1b"}}},
        ['{"a/b":1,"c":2}'],
        ['{"c":"x"}'],
    ),
    "reference by anchor": (
        {"$ref": "#here", "$defs": {"x": {"$anchor": "here", "type": "null"}}},
        ["null"],
        ["1"],
    ),
    "reference by own address": (
        {
            "$id": "https://example.com/s",
            "$ref": "https://example.com/s#/$defs/x",
            "$defs": {"x": {"type": "null"}},
        },
        ["null"],
        ["1"],
    ),
    "recursion through the root": (
        {
            "type": "object",
            "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
            "required": ["next"],
        },
        ['{"next":{"next":null}}'],
        ["{}", '{"next":1}'],
    ),
    "endless choices are left out": (
        {
            "anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}],
            "$defs": {"n": {"type": "array", "items": {"$ref": "#/$defs/n"}, "minItems": 1}},
        },
        ["null"],
        ["[", "[["],
    ),
    "remarks": (
        {
            "type": "null",
            "title": "t",
            "description": "d",
            "default": 1,
            "examples": [2],
            "$comment": "",
            "deprecated": True,
            "x-y": 1,
            "$schema": "https://json-schema.org/draft/2020-12/schema",
        },
        ["null"],
        ["1"],
    ),
    "says nothing": (
        {
            "type": "array",
            "uniqueItems": False,
            "items": {},
            "not": False,
            "dependentRequired": {},
            "minContains": 1,
        },
        ["[1,1]"],
        ["{}"],
    ),
    "unevaluated": ({**_LETTER, "unevaluatedProperties": False}, ['{"a":1}'], ['{"b":1}']),
    "odd names": (
        {"properties": {'"\\\x00\x7f\n/é': {"const": '"\\\x00\x7f\n/é'}}},
        ['{"\\"\\\\\\u0000\x7f\\n/é":"\\"\\\\\\u0000\x7f\\n/é"}'],
        [],
    ),
}
