"""Functions of shops, offices and homes: orders, prices, journeys, timers, money and files. Pure."""

# ruff: noqa: SIM905 (a list of words reads best as a sentence)

from __future__ import annotations

from random import Random

from . import values
from .example import Json, pick
from .offers import INTEGER, STRING, Arguments, Ask, Offer, Schema, called, in_order, shuffled, spelt
from .words import CITIES, DAYS, FOODS, THINGS

_SIGNS = "Aries Taurus Gemini Cancer Leo Virgo Libra Scorpio Sagittarius Capricorn Aquarius Pisces".split()
_TICKERS = "AAPL TSLA MSFT GOOG GOOGL AMZN NVDA META NFLX IBM INTC AMD ORCL SAP".split()
_CURRENCIES = "EUR USD GBP JPY CHF CAD AUD".split()


def delivery(rng: Random) -> Offer:
    """When an order arrives, or how it stands."""
    name = pick(
        rng,
        "get_delivery_date",
        "get_delivery_date",
        "get_order_status",
        "track_order",
        "getDeliveryDate",
        "order_status",
    )
    key = pick(rng, "order_id", "order_id", "order_id", "id", "order", "order_number", "orderId")
    number = rng.random() < 0.2
    properties: dict[str, Schema] = {
        key: INTEGER if number else {"type": "string", "description": "The customer's order ID."}
    }

    def ask(rng: Random) -> Ask:
        known = str(values.whole(rng, 5)) if number else values.identifier(rng)
        shown = known if rng.random() < 0.8 else f"number {known}"
        question = pick(
            rng,
            "When will my order {} arrive?",
            "What is the delivery date of order {}?",
            "What's the delivery date for order {}?",
            "Where is my order {}?",
            "Track order {}",
            "When does order {} arrive?",
            "What is the status of order {}?",
            "Can you tell me the delivery date for my order? The order id is {}",
            "My order id is {}. When will it arrive?",
        )
        if rng.random() < 0.5:
            date = values.date(rng)
            result, answer = date, f"Your order {known} arrives on {date}."
        else:
            day = rng.choice(DAYS)
            result, answer = f'{{"delivery_date": "{day}"}}', f"Your order {known} arrives on {day}."
        value: Json = int(known) if number else known
        return called(name, {key: value}, question.format(shown), result, answer)

    told = pick(rng, "Get the delivery date for a customer's order.", "Get the status of an order")
    return Offer(name, told, properties, (key,), ask, "order", ("order",))


def stock(rng: Random) -> Offer:
    """The price of a share by its symbol."""
    name = pick(
        rng, "get_stock_price", "get_stock_price", "stock_price", "get_quote", "get_current_stock_price"
    )
    key = pick(rng, "symbol", "ticker", "ticker", "stock")
    properties: dict[str, Schema] = {key: STRING}

    def ask(rng: Random) -> Ask:
        letters = "".join(rng.choice("ABCDEFGHIKLMNOPRSTUVWXYZ") for _ in range(rng.randint(2, 4)))
        symbol, price = rng.choice(_TICKERS) if rng.random() < 0.6 else letters, values.decimal(rng)
        question = pick(
            rng,
            "What is the stock price of {}?",
            "What's the price of {} stock?",
            "What is {} trading at?",
            "Get the stock price of {}.",
            "How much is {} stock?",
            "Price of {}?",
        )
        return called(
            name, {key: symbol}, question.format(symbol), str(price), f"The price of {symbol} is {price}."
        )

    return Offer(
        name, "Get the current stock price", properties, (key,), ask, "stock", ("price", "stock", "trading")
    )


def horoscope(rng: Random) -> Offer:
    """The example of OpenAI's guide."""
    name, key = pick(rng, "get_horoscope", "horoscope"), pick(rng, "sign", "sign", "zodiac_sign")
    enum: Schema = {"type": "string", "enum": [*_SIGNS]}
    properties: dict[str, Schema] = {key: enum if rng.random() < 0.2 else STRING}

    def ask(rng: Random) -> Ask:
        sign, said = rng.choice(_SIGNS), values.words(rng, 5)
        article = "an" if sign[0] == "A" else "a"
        question = pick(
            rng,
            f"What is my horoscope? I am {article} {sign}.",
            f"What is the horoscope of {sign}?",
            f"Horoscope for {sign}, please.",
            f"I am {article} {sign}. What is my horoscope?",
        )
        return called(name, {key: sign}, question, said, f"{sign}: {said}")

    return Offer(
        name,
        "Get today's horoscope for an astrological sign.",
        properties,
        (key,),
        ask,
        "horoscope",
        ("horoscope",),
    )


def journey(rng: Random) -> Offer:
    """A ticket from one place to another, on a day if one is named."""
    noun, name = rng.choice(
        (
            ("flight", "book_flight"),
            ("train", "book_train"),
            ("flight", "search_flights"),
            ("trip", "plan_trip"),
            ("ticket", "book_ticket"),
        )
    )
    start, end = rng.choice(
        (
            ("origin", "destination"),
            ("from", "to"),
            ("from_city", "to_city"),
            ("departure", "arrival"),
            ("start", "end"),
        )
    )
    day = pick(rng, "date", "date", "day") if rng.random() < 0.6 else ""
    properties: dict[str, Schema] = {start: STRING, end: STRING}
    if day:
        properties[day] = STRING

    def ask(rng: Random) -> Ask:
        a, b = rng.sample(CITIES, 2) if rng.random() < 0.5 else (values.city(rng), values.city(rng))
        arguments: Arguments = {start: a, end: b}
        verb = "Find" if "search" in name else "Book" if "book" in name else "Plan"
        question = pick(
            rng,
            f"{verb} a {noun} from {a} to {b}",
            f"I need a {noun} from {a} to {b}",
            f"{verb} me a {noun} from {a} to {b}",
        )
        if day and rng.random() < 0.6:
            arguments[day] = rng.choice(DAYS) if rng.random() < 0.6 else values.date(rng)
            question += f" on {arguments[day]}"
        return called(
            name, arguments, question + pick(rng, ".", ""), "ok", f"Your {noun} from {a} to {b} is booked."
        )

    return Offer(
        name, f"Book a {noun}", properties, (start, end), ask, "journey", ("flight", "train", "ticket")
    )


def timer(rng: Random) -> Offer:
    """A timer of some minutes or an alarm at a time."""
    if rng.random() < 0.5:
        name, key = (
            pick(rng, "set_timer", "start_timer", "timer"),
            pick(rng, "minutes", "minutes", "duration"),
        )

        def ask(rng: Random) -> Ask:
            count = rng.randint(1, 120)
            question = pick(
                rng,
                "Set a timer for {} minutes.",
                "Start a {} minute timer",
                "Set a timer of {} minutes",
                "Timer for {} minutes, please.",
            )
            return called(
                name, {key: count}, question.format(count), "ok", f"The timer runs for {count} minutes."
            )

        return Offer(name, "Start a timer of some minutes", {key: INTEGER}, (key,), ask, "timer", ("timer",))
    name, key = pick(rng, "set_alarm", "add_alarm", "alarm"), pick(rng, "time", "time", "at", "when")

    def ask_alarm(rng: Random) -> Ask:
        at = values.day_time(rng)
        question = pick(rng, "Set an alarm for {}.", "Wake me at {}", "Set the alarm to {}.", "Alarm at {}")
        return called(name, {key: at}, question.format(at), "ok", f"The alarm is set for {at}.")

    return Offer(name, "Set an alarm", {key: STRING}, (key,), ask_alarm, "timer", ("timer", "alarm", "wake"))


def shop(rng: Random) -> Offer:
    """So many of a thing, into the cart or ordered."""
    name = pick(rng, "add_to_cart", "order_food", "order_item", "buy", "add_item", "place_order")
    item, count = (
        pick(rng, "item", "item", "product", "name"),
        pick(rng, "quantity", "quantity", "count", "amount"),
    )
    properties = shuffled(rng, {item: STRING, count: INTEGER})

    def ask(rng: Random) -> Ask:
        what, many = rng.choice(FOODS) if rng.random() < 0.5 else rng.choice(THINGS) + "s", rng.randint(2, 40)
        question = pick(
            rng,
            "Add {n} {i} to my cart.",
            "Order {n} {i}.",
            "Buy {n} {i}",
            "I want {n} {i}, please.",
            "Get me {n} {i}.",
        )
        arguments = in_order(properties, {item: what, count: many})
        return called(name, arguments, question.format(n=many, i=what), "ok", f"I ordered {many} {what}.")

    return Offer(
        name,
        pick(rng, "Order a thing", "Put a thing into the cart"),
        properties,
        (item, count),
        ask,
        "shop",
        ("cart", "order", "buy", "want"),
    )


def convert(rng: Random) -> Offer:
    """An amount of one currency in another."""
    name = pick(rng, "convert_currency", "convert", "exchange", "convert_money")
    amount, source, target = rng.choice(
        (("amount", "from", "to"), ("amount", "from_currency", "to_currency"), ("value", "source", "target"))
    )
    currency: Schema = {"type": "string", "enum": [*_CURRENCIES]} if rng.random() < 0.3 else STRING
    properties: dict[str, Schema] = {amount: {"type": "number"}, source: currency, target: currency}

    def ask(rng: Random) -> Ask:
        one, other = rng.sample(_CURRENCIES, 2)
        number, result = values.whole(rng, 4), values.decimal(rng)
        question = pick(
            rng,
            "Convert {n} {a} to {b}.",
            "How much is {n} {a} in {b}?",
            "What is {n} {a} in {b}?",
            "{n} {a} to {b}",
        )
        arguments: Arguments = {amount: number, source: one, target: other}
        return called(
            name,
            arguments,
            question.format(n=number, a=one, b=other),
            str(result),
            f"{number} {one} is {result} {other}.",
        )

    return Offer(name, "Convert money", properties, tuple(properties), ask, "convert", ("convert",))


def file(rng: Random) -> Offer:
    """A file or a page that is read."""
    verb, noun, key = rng.choice(
        (
            ("read", "file", "path"),
            ("open", "file", "path"),
            ("read", "file", "filename"),
            ("fetch", "url", "url"),
            ("delete", "file", "path"),
            ("open", "page", "url"),
        )
    )
    name = spelt(rng, verb, noun)

    def ask(rng: Random) -> Ask:
        stem = "/".join(values.words(rng, 1).lower() for _ in range(rng.randint(1, 2)))
        where = (
            f"https://{pick(rng, 'example.com', 'example.org', 'test.com')}/{stem}"
            if key == "url"
            else stem + pick(rng, ".txt", ".py", ".md", ".json", ".csv")
        )
        question = pick(
            rng,
            f"{verb.capitalize()} {where}",
            f"{verb.capitalize()} the {noun} {where}",
            f"Please {verb} {where}",
            f"Can you {verb} {where}?",
        )
        result = values.words(rng, 5)
        return called(name, {key: where}, question, result, f"It says: {result}")

    return Offer(
        name, f"{verb.capitalize()} a {noun}", {key: STRING}, (key,), ask, "file", (verb + " ", "file")
    )
