"""Word lists that the tasks draw from, and makers of random words. Pure; no state."""

# ruff: noqa: SIM905 (a list of words reads best as a sentence)

from __future__ import annotations

from random import Random

NAMES = (
    "Anna Ben Carla David Emma Felix Grace Henry Ida Jack Kate Leo Maria Nina Oscar Paul Quinn Rosa Sam "
    "Tom Uma Victor Wendy Xavier Yara Zoe Alice Bob Clara Dan Eva Frank Gina Hugo Iris John Karl Lucy "
    "Max Nora Olga Peter Rita Simon Tina Otto Vera Will Amir Bella Chen Diego Elena Fatima Jane Mary "
    "Mike Sara Ali Lena"
).split()
CITIES = (
    "Paris London Berlin Rome Madrid Vienna Prague Dublin Oslo Lisbon Athens Warsaw Boston Chicago "
    "Tokyo Sydney Toronto Cairo Delhi Lima Kyoto Milan Munich Hamburg Geneva Seattle Dallas Denver "
    "Miami Austin Houston Leeds Lyon Turin Porto Krakow Zurich Venice Naples Nairobi Mumbai Seoul Osaka "
    "Quebec Dubai Bogota"
).split()
COLOURS = "red blue green yellow black white brown grey pink orange purple silver gold".split()
ANIMALS = (
    "cat dog horse bird fish mouse rabbit fox bear wolf lion tiger cow sheep goat duck frog owl snake "
    "turtle unicorn dragon bee ant whale robot"
).split()
THINGS = (
    "car book bike house boat lamp table chair phone clock coat hat bag cup ball box key letter piano "
    "guitar camera kite drum ring knife bottle mirror blanket basket ladder"
).split()
FOODS = (
    "apples bread cheese rice soup pasta cake tea coffee milk honey eggs pizza fish beans plums nuts".split()
)
JOBS = (
    "teacher doctor nurse baker farmer pilot writer singer lawyer painter driver cook engineer tailor".split()
)
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = ("January February March April May June July August September October November December").split()
NUMBER_WORDS = "zero one two three four five six seven eight nine ten eleven twelve".split()
LANGUAGES = "French German Spanish Italian English Dutch Polish Greek".split()

COMMON = (
    "the a an this that these those is are was were be been have has had do does did will would can "
    "could may might must should not and or but if then else when while where why how what who which "
    "there here now today tomorrow yesterday soon later never always often again once twice first "
    "second third last next new old young big small large little long short high low good bad great "
    "fine nice kind happy sad angry calm quiet loud fast slow early late hot cold warm cool dry wet "
    "clean dirty full empty open closed free busy easy hard light dark bright heavy strong weak rich "
    "poor right wrong true false real same other another each every all some any many much more most "
    "few less least own such only just even still also too very quite really almost about above across "
    "after against along among around at before behind below between by down during for from in into "
    "near of off on out over past since through to toward under until up upon with within without I you "
    "he she it we they me him her us them my your his its our their man woman child boy girl friend "
    "family mother father sister brother son daughter people person world country city town village "
    "street road house home room door window wall floor garden tree flower grass river lake sea ocean "
    "mountain hill forest field sky sun moon star cloud rain snow wind storm fire water earth stone "
    "sand gold silver iron paper glass wood time year month week day hour minute second morning evening "
    "night summer winter spring autumn work job school class teacher student lesson question answer "
    "word name number letter page story song music picture film game team ball food bread milk meat "
    "fruit apple lemon orange coffee tea sugar salt breakfast lunch dinner money price shop market bank "
    "office company business plan idea reason problem way thing part place point line side end start "
    "begin case fact example test result change power energy light sound voice heart head hand foot eye "
    "ear face hair body mind life death health doctor car bus train plane ship boat bike wheel engine "
    "machine computer phone screen key code file data model server client token stream system program "
    "language message signal network go come run walk stand sit lie sleep wake eat drink cook wash buy "
    "sell pay give take get put keep hold carry bring send receive find lose look see watch hear listen "
    "speak talk say tell ask call read write learn teach know think believe hope wish want need like "
    "love hate feel touch smell taste play win fight help try use make build break fix cut draw paint "
    "sing dance laugh cry smile jump swim fly fall rise grow turn move stop wait stay leave arrive "
    "return follow lead meet visit join share show hide close shut lock push pull throw catch hit kick "
    "drop pick choose decide agree remember forget understand explain describe finish hello goodbye "
    "please thanks sorry welcome yes no maybe okay world banana window purple kettle rocket pencil "
    "castle island bridge dragon wizard monkey tiger panda zebra yellow simple little random strange"
).split()

_CONSONANTS = "b c d f g h j k l m n p r s t v w z br cl dr fl gr pl st tr sh ch th".split()
_VOWELS = "a e i o u a e i o u ai ea oo ou".split()
_ENDINGS = ["", "", "n", "r", "s", "t", "l", "m", "d", "ck", "x"]
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def pseudo_word(rng: Random) -> str:
    """A word that reads like one but is in no dictionary, such as `plouter`."""
    parts = [rng.choice(_CONSONANTS) + rng.choice(_VOWELS) for _ in range(rng.randint(1, 3))]
    return "".join(parts) + rng.choice(_ENDINGS)


def random_letters(rng: Random) -> str:
    """Two to seven letters (sometimes upper case, sometimes with digits) in no order at all."""
    alphabet = (
        _LETTERS
        if rng.random() < 0.6
        else _LETTERS.upper()
        if rng.random() < 0.5
        else _LETTERS + "0123456789"
    )
    return "".join(rng.choice(alphabet) for _ in range(rng.randint(2, 7)))


def any_word(rng: Random, plain: float = 0.6) -> str:
    """A word of any kind; `plain` is the probability of a common one."""
    if rng.random() < plain:
        return rng.choice(COMMON)
    kind = rng.random()
    if kind < 0.30:
        return pseudo_word(rng)
    if kind < 0.45:
        return random_letters(rng)
    if kind < 0.60:
        return str(rng.randint(0, 10 ** rng.randint(1, 5)))
    return rng.choice(rng.choice((NAMES, CITIES, COLOURS, ANIMALS, THINGS, FOODS, DAYS, MONTHS)))


def capitalised(text: str) -> str:
    """The text with its first letter in upper case and all else untouched."""
    return text[:1].upper() + text[1:]


def article(noun: str) -> str:
    """The noun with the article that it takes."""
    return ("an " if noun[0] in "aeio" else "a ") + noun
