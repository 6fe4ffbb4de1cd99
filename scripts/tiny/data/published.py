"""Requests with functions as the SDKs' own pages have them, and the calls they ask for. Pure.

The definitions are the pages' in kind and in shape; training draws its own and sees none of these as a whole.
"""

from __future__ import annotations

from .example import Chat, Json, Message

Properties = dict[str, Json]
_STRING: Json = {"type": "string"}
_INTEGER: Json = {"type": "integer"}


def _function(name: str, about: str, properties: Properties, strict: bool = False) -> dict[str, Json]:
    parameters: dict[str, Json] = {"type": "object", "properties": properties, "required": [*properties]}
    function: dict[str, Json] = {"name": name, "description": about, "parameters": parameters}
    if strict:
        parameters["additionalProperties"] = False
        function["strict"] = True
    return {"type": "function", "function": function}


WEATHER = _function(
    "get_weather",
    "Get current temperature for a given location.",
    {"location": {"type": "string", "description": "City and country e.g. Bogotá, Colombia"}},
    strict=True,
)
CURRENT_WEATHER: dict[str, Json] = {
    "type": "function",
    "function": {
        "name": "get_current_weather",
        "description": "Get the current weather in a given location",
        "parameters": {
            "type": "object",
            "properties": {
                "location": {"type": "string", "description": "The city and state, e.g. San Francisco, CA"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            },
            "required": ["location"],
        },
    },
}
CITY_WEATHER = _function("weather", "Get the weather for a city", {"city": _STRING})
ADD = _function("add", "Adds a and b.", {"a": _INTEGER, "b": _INTEGER})
MULTIPLY = _function("multiply", "Multiply a and b.", {"a": _INTEGER, "b": _INTEGER})
DELIVERY = _function(
    "get_delivery_date",
    "Get the delivery date for a customer's order. Call this whenever you need to know the delivery date",
    {"order_id": {"type": "string", "description": "The customer's order ID."}},
    strict=True,
)
SEARCH = _function("search", "Search the web for a query", {"query": _STRING})
USER = _function(
    "User", "Correctly extracted `User` with all the required parameters", {"name": _STRING, "age": _INTEGER}
)
HOROSCOPE = _function(
    "get_horoscope",
    "Get today's horoscope for an astrological sign.",
    {"sign": {"type": "string", "description": "An astrological sign like Taurus or Aquarius"}},
)
EMAIL = _function("send_email", "Send an email", {"to": _STRING, "subject": _STRING, "body": _STRING})
STOCK = _function("get_stock_price", "Get the current stock price", {"symbol": _STRING})
TIME = _function("get_current_time", "Get the current time in a given city", {"city": _STRING})
NOW = _function("get_current_time", "Get the current time", {})

Call = tuple[str, dict[str, Json]]
_CASES: tuple[tuple[str, tuple[dict[str, Json], ...], tuple[Call, ...]], ...] = (
    ("What is the weather in Paris?", (WEATHER,), (("get_weather", {"location": "Paris"}),)),
    ("What is the weather like in Paris today?", (WEATHER,), (("get_weather", {"location": "Paris"}),)),
    ("What's the weather like in Paris today?", (WEATHER, SEARCH), (("get_weather", {"location": "Paris"}),)),
    (
        "What is the weather like in San Francisco?",
        (CURRENT_WEATHER,),
        (("get_current_weather", {"location": "San Francisco"}),),
    ),
    (
        "What's the weather like in Boston today?",
        (CURRENT_WEATHER,),
        (("get_current_weather", {"location": "Boston"}),),
    ),
    (
        "What's the weather like in San Francisco, Tokyo, and Paris?",
        (CURRENT_WEATHER,),
        tuple(("get_current_weather", {"location": city}) for city in ("San Francisco", "Tokyo", "Paris")),
    ),
    ("What is the weather in Berlin?", (CITY_WEATHER, ADD), (("weather", {"city": "Berlin"}),)),
    (
        "What is the weather in Paris and London?",
        (WEATHER, DELIVERY),
        (("get_weather", {"location": "Paris"}), ("get_weather", {"location": "London"})),
    ),
    ("What is 3 times 4?", (ADD, MULTIPLY), (("multiply", {"a": 3, "b": 4}),)),
    ("What is 3 * 12?", (ADD, MULTIPLY), (("multiply", {"a": 3, "b": 12}),)),
    ("What is 11 + 49?", (ADD, MULTIPLY), (("add", {"a": 11, "b": 49}),)),
    (
        "What is 3 * 12? Also, what is 11 + 49?",
        (ADD, MULTIPLY),
        (("multiply", {"a": 3, "b": 12}), ("add", {"a": 11, "b": 49})),
    ),
    ("What is 2 plus 2?", (ADD,), (("add", {"a": 2, "b": 2}),)),
    (
        "When will my order order_12345 arrive?",
        (DELIVERY,),
        (("get_delivery_date", {"order_id": "order_12345"}),),
    ),
    (
        "What is the delivery date of order 4512?",
        (DELIVERY, WEATHER),
        (("get_delivery_date", {"order_id": "4512"}),),
    ),
    ("Search for good coffee shops", (SEARCH, WEATHER), (("search", {"query": "good coffee shops"}),)),
    ("Extract: Jason is 25 years old", (USER,), (("User", {"name": "Jason", "age": 25}),)),
    ("Extract Jason is 25 years old.", (USER,), (("User", {"name": "Jason", "age": 25}),)),
    ("Jason is 25 years old", (USER,), (("User", {"name": "Jason", "age": 25}),)),
    ("What is my horoscope? I am an Aquarius.", (HOROSCOPE,), (("get_horoscope", {"sign": "Aquarius"}),)),
    (
        'Send an email to bob@example.com with the subject "Hello" and the text "How are you?"',
        (EMAIL, WEATHER),
        (("send_email", {"to": "bob@example.com", "subject": "Hello", "body": "How are you?"}),),
    ),
    (
        "What is the stock price of AAPL?",
        (STOCK, SEARCH, WEATHER),
        (("get_stock_price", {"symbol": "AAPL"}),),
    ),
    ("What time is it in Tokyo?", (TIME, WEATHER), (("get_current_time", {"city": "Tokyo"}),)),
    ("What time is it?", (NOW,), (("get_current_time", {}),)),
    ("Hello", (WEATHER,), ()),
    ("Hello!", (ADD, MULTIPLY), ()),
    ("Say this is a test", (WEATHER,), ()),
    ("Who are you?", (WEATHER, DELIVERY), ()),
    ("What is the capital of France?", (CURRENT_WEATHER,), ()),
    ("What is 2+2?", (WEATHER,), ()),
    ("Thank you!", (DELIVERY, EMAIL), ()),
    ("Tell me a joke.", (STOCK,), ()),
)


def published() -> list[Chat]:
    """Every request as a conversation; where no call is right the answer is left empty."""
    chats: list[Chat] = []
    for question, tools, calls in _CASES:
        reply: Message = {"role": "assistant", "content": None if calls else ""}
        if calls:
            reply["tool_calls"] = [
                {"type": "function", "function": {"name": name, "arguments": arguments}}
                for name, arguments in calls
            ]
        chats.append(Chat("published", ({"role": "user", "content": question}, reply), tools))
    return chats
