"""The words of the demo's tasks: so few that a model of a few million parameters sees each of them often."""

from __future__ import annotations

from dataclasses import dataclass

NAMES = (
    "Amina Bruno Carla Dmitri Elena Farid Greta Hugo Ines Jonas Kofi Lucia Mei Nadia Omar Paula Quentin Rosa "
    "Sami Tariq Uma Viktor Wanda Yusuf Zoe Anders Bianca Chen Dalia Emil Fatou Goran Hana Ivan Jamila Kenji "
    "Lena Marco Noor Olga"
).split()

CITIES = (
    "Lima Oslo Cairo Paris Delhi Tokyo Rome Accra Quito Hanoi Berlin Madrid Dublin Lagos Athens Havana Nairobi "
    "Vienna Prague Lisbon Boston Sydney Tunis Seoul Warsaw Bogota Geneva Manila Zagreb Dakar"
).split()

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
COLOURS = "red blue green yellow black white brown grey orange purple pink golden".split()

NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
).split()

PLURALS = dict(
    pair.split("/")
    for pair in (
        "lamp/lamps chair/chairs cup/cups book/books shoe/shoes box/boxes key/keys coat/coats bottle/bottles "
        "clock/clocks basket/baskets ladder/ladders pencil/pencils blanket/blankets mirror/mirrors "
        "candle/candles bag/bags plate/plates ticket/tickets letter/letters window/windows table/tables "
        "brush/brushes dress/dresses glass/glasses watch/watches dish/dishes bus/buses bench/benches "
        "baby/babies city/cities story/stories berry/berries lady/ladies party/parties knife/knives "
        "leaf/leaves wolf/wolves shelf/shelves loaf/loaves child/children man/men woman/women foot/feet "
        "tooth/teeth mouse/mice goose/geese person/people tree/trees river/rivers bird/birds stone/stones "
        "hat/hats spoon/spoons pillow/pillows wheel/wheels bridge/bridges garden/gardens door/doors ring/rings "
        "rope/ropes"
    ).split()
)
THINGS = (
    "lamp chair cup book shoe box key coat bottle clock basket ladder pencil blanket mirror candle bag plate "
    "ticket letter table brush dress glass watch knife hat spoon pillow wheel ring rope bench stone"
).split()


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb in the three forms that simple sentences need."""

    base: str
    third: str
    past: str


VERBS = tuple(
    Verb(*forms.split("/"))
    for forms in (
        "buy/buys/bought find/finds/found lose/loses/lost sell/sells/sold paint/paints/painted "
        "carry/carries/carried wash/washes/washed see/sees/saw make/makes/made clean/cleans/cleaned "
        "pack/packs/packed borrow/borrows/borrowed bring/brings/brought take/takes/took hide/hides/hid "
        "choose/chooses/chose break/breaks/broke fix/fixes/fixed want/wants/wanted order/orders/ordered"
    ).split()
)
PAST = {v.base: v.past for v in VERBS} | dict(
    pair.split("/")
    for pair in (
        "go/went eat/ate drink/drank run/ran swim/swam sing/sang write/wrote read/read speak/spoke sleep/slept "
        "sit/sat stand/stood come/came give/gave fly/flew ride/rode drive/drove win/won begin/began know/knew "
        "think/thought teach/taught catch/caught walk/walked play/played cook/cooked help/helped open/opened "
        "close/closed dance/danced jump/jumped call/called visit/visited smile/smiled laugh/laughed "
        "wait/waited climb/climbed plant/planted"
    ).split()
)

_OPPOSITES = (
    "hot/cold big/small tall/short old/new fast/slow happy/sad light/dark early/late rich/poor hard/soft "
    "full/empty clean/dirty wet/dry strong/weak loud/quiet open/closed wide/narrow thick/thin high/low "
    "near/far young/aged sweet/bitter deep/shallow heavy/weightless day/night up/down in/out first/last "
    "left/right buy/sell win/lose love/hate begin/end push/pull inside/outside always/never good/bad "
    "true/false safe/dangerous easy/difficult cheap/expensive brave/afraid kind/cruel rough/smooth sharp/blunt "
    "summer/winter morning/evening north/south east/west give/take laugh/cry alive/dead"
)
ANTONYMS = dict(pair.split("/") for pair in _OPPOSITES.split())
ANTONYMS |= {opposite: word for word, opposite in ANTONYMS.items()}

CATEGORIES: dict[str, list[str]] = {
    "animals": "dog cat horse cow sheep goat lion tiger rabbit bear fox monkey camel duck snake frog".split(),
    "fruits": "apple banana pear mango lemon grape cherry peach plum melon kiwi fig".split(),
    "vegetables": "carrot onion potato pea cabbage spinach leek pumpkin radish garlic bean tomato".split(),
    "colours": COLOURS,
    "clothes": "coat shirt scarf sock glove jacket skirt dress hat sweater belt boot".split(),
    "tools": "hammer saw drill wrench screwdriver spade rake axe pliers chisel shovel".split(),
    "drinks": "tea coffee water milk juice lemonade cocoa wine beer cider".split(),
    "vehicles": "car bus train tram bicycle truck boat ship plane tractor van scooter".split(),
    "instruments": "piano guitar violin drum flute trumpet harp cello banjo clarinet".split(),
    "sports": "tennis football hockey rugby golf boxing rowing judo cricket basketball".split(),
    "jobs": "teacher doctor baker farmer nurse pilot singer driver cook painter tailor lawyer".split(),
    "flowers": "rose tulip daisy lily violet poppy orchid iris lavender sunflower".split(),
    "furniture": "table chair sofa bed desk shelf stool wardrobe cupboard bench".split(),
    "countries": "Peru Norway Egypt France India Japan Italy Ghana Cuba Kenya Chile Spain Greece Brazil".split(),
    "cities": CITIES,
    "days": DAYS,
    "months": MONTHS,
}
CATEGORY_OF: dict[str, str] = {}
"""The category of each word that belongs to one only (a dress is clothes, a bench is furniture)."""
for _category, _words in CATEGORIES.items():
    for _word in _words:
        CATEGORY_OF[_word] = "" if _word in CATEGORY_OF else _category
CATEGORY_OF = {word: category for word, category in CATEGORY_OF.items() if category}

RHYMES = tuple(
    group.split("/")
    for group in (
        "cat/hat/bat/mat cake/lake/snake/rake light/night/kite/white tree/sea/bee/key moon/spoon/noon/tune "
        "house/mouse/blouse rain/train/plane/chain boat/coat/goat/note bed/red/head/bread day/way/play/grey "
        "ring/king/spring/sing bear/chair/hair/pear ball/wall/tall/fall fox/box/socks/rocks star/car/jar/far "
        "door/floor/four/more phone/stone/bone/throne shell/bell/well/smell pen/hen/ten/men "
        "wheel/meal/seal/steel snow/low/toe/bow nail/snail/tail/whale"
    ).split()
)

PLAIN_WORDS = sorted(
    {*THINGS, *PLURALS, *ANTONYMS, *COLOURS, *(word for group in RHYMES for word in group)}
    | {word for kind in "animals fruits vegetables tools drinks jobs flowers".split() for word in CATEGORIES[kind]}
)
"""Lower-case words for tasks about words as such: letters, sorting, lists."""

GOOD = (
    "good lovely great excellent friendly delicious helpful clean wonderful pleasant fast cheerful perfect comfortable"
).split()
BAD = "bad awful rude terrible broken dirty slow boring noisy horrible cold unfriendly late useless".split()
REVIEWED = (
    "soup room film concert waiter hotel book train teacher garden phone meal shop guide bed game museum "
    "driver doctor coffee party song tour cake service"
).split()

_TOPICS = {
    "sport": (
        "the team/our captain/the goalkeeper/the young runner/the coach/the tennis champion",
        "won the match/scored two goals/trained for the race/lost the final/broke the record/jumped over the bar",
    ),
    "food": (
        "the cook/our baker/the hungry guest/the new restaurant/the soup/the fresh bread",
        "smells of garlic/needs more salt/is served with rice/was cooked in butter/tastes of lemon/was eaten for lunch",
    ),
    "weather": (
        "the storm/heavy rain/a cold wind/thick fog/the first snow/a warm breeze",
        "will come from the north/covers the hills/lasted all night/brings lower temperatures/is expected at noon",
    ),
    "music": (
        "the singer/the orchestra/a young pianist/the choir/the drummer/the old violin",
        "played a slow tune/gave a concert/practised the song/sang the last verse/recorded an album",
    ),
    "travel": (
        "the tourist/the airline/our guide/the passengers/the hotel guest/the night train",
        "missed the flight/booked a tour/crossed the border/left from platform four/packed two suitcases",
    ),
    "animals": (
        "the horse/a brown bear/our old dog/the kitten/the parrot/a young elephant",
        "drank from the river/has soft fur/hid in its nest/chased its tail/slept in the barn",
    ),
    "school": (
        "the pupils/our teacher/the headmaster/the new student/the class/the exam",
        "started after the lesson/finished the homework/failed the spelling test/has a chemistry lesson/wrote an essay",
    ),
    "money": (
        "the bank/the buyer/our accountant/the investor/the market/the landlord",
        "raised the price/paid the bill/lowered the interest/asked for a loan/saved two hundred dollars",
    ),
    "health": (
        "the nurse/a tired patient/the dentist/the hospital/the pharmacist/the surgeon",
        "measured the fever/checked the blood pressure/treated the cough/wrote a prescription/cured the headache",
    ),
    "gardening": (
        "the gardener/the rose bush/our lawn/the tomato plant/the old hedge/the seedling",
        "needs water and soil/was pruned in spring/grows beside the greenhouse/lost its petals/was planted in a pot",
    ),
}
TOPIC_WORDS = {topic: (subjects.split("/"), ends.split("/")) for topic, (subjects, ends) in _TOPICS.items()}
"""Subjects and predicates of sentences, by topic; each of them alone shows the topic."""

INTENT_PHRASES: dict[str, list[str]] = {
    "complaint": (
        "the {thing} arrived broken/nobody answered my call about the {thing}/the {thing} is not what was promised/"
        "I am unhappy with the {thing}/the {thing} stopped working after a day"
    ).split("/"),
    "thanks": (
        "thank you so much for the {thing}/I am grateful for the {thing}/many thanks for the lovely {thing}/"
        "it was kind of you to send the {thing}/thanks again for your help with the {thing}"
    ).split("/"),
    "order": (
        "please send me two {things}/I would like to buy the {colour} {thing}/please deliver one {thing} to my house/"
        "I want to order five {things}/add one more {thing} to my order"
    ).split("/"),
    "question": (
        "when does the {thing} arrive?/how much does the {thing} cost?/is the {thing} still for sale?/"
        "do you have a {colour} {thing}?/which {thing} is the best one?"
    ).split("/"),
    "invitation": (
        "come to my party on {day}/would you join us for dinner on {day}/you are invited to our wedding on {day}/"
        "we hope to see you at our picnic on {day}/please be our guest on {day}"
    ).split("/"),
    "apology": (
        "I am sorry that I broke the {thing}/please forgive me for losing the {thing}/sorry, I forgot the {thing}/"
        "I apologise for my mistake with the {thing}/it was my fault that the {thing} was late"
    ).split("/"),
}

DESCRIPTIONS: dict[str, tuple[str, str]] = {
    # thing: (what it is, what it does or is for)
    "lamp": ("a small device", "gives light in a dark room"),
    "chair": ("a piece of furniture", "lets one person sit"),
    "cup": ("a small container", "holds a hot drink"),
    "book": ("a bundle of printed pages", "tells a story or teaches something"),
    "key": ("a piece of metal", "opens a lock"),
    "clock": ("a machine", "shows the time of day"),
    "ladder": ("a simple tool", "helps people climb"),
    "pencil": ("a thin wooden tool", "leaves a grey line on paper"),
    "blanket": ("a large soft cloth", "keeps people warm at night"),
    "mirror": ("a flat piece of glass", "shows what stands before it"),
    "candle": ("a stick of wax", "burns slowly and gives light"),
    "window": ("an opening in a wall", "lets in light and air"),
    "river": ("a long stream of water", "flows to the sea"),
    "bridge": ("a strong structure", "carries a road over water"),
    "garden": ("a piece of land", "grows flowers and vegetables"),
    "tree": ("a tall plant", "gives shade and fruit"),
    "dog": ("a friendly animal", "guards the house"),
    "cat": ("a quiet animal", "hunts mice"),
    "horse": ("a strong animal", "carries riders"),
    "bird": ("an animal with wings", "sings in the morning"),
    "train": ("a long vehicle", "runs on rails between cities"),
    "bicycle": ("a vehicle with two wheels", "moves when you pedal"),
    "boat": ("a small vessel", "floats on water"),
    "piano": ("a large instrument", "makes music with keys and strings"),
    "hammer": ("a heavy tool", "drives nails into wood"),
    "spoon": ("a small tool", "helps people eat soup"),
    "umbrella": ("a light roof on a stick", "keeps off the rain"),
    "coat": ("a warm piece of clothing", "protects from the cold"),
    "teacher": ("a person", "helps others learn"),
    "baker": ("a person", "makes bread and cakes"),
    "farmer": ("a person", "grows food and keeps animals"),
    "doctor": ("a person", "helps sick people"),
    "library": ("a quiet building", "lends books to people"),
    "market": ("a busy place", "sells food and clothes"),
}

PEOPLE = (
    "a new neighbour/an old friend/my teacher/a colleague/my grandmother/the bus driver/my cousin/the doctor/my boss/"
    "a classmate/the landlord/my sister/my brother/the librarian/a customer/the team"
).split("/")
REASONS: dict[str, str] = {
    # reason as an instruction names it: as the note says it
    "the birthday present": "the birthday present",
    "the warm welcome": "the warm welcome",
    "help with the garden": "your help with the garden",
    "a lovely dinner": "the lovely dinner",
    "the borrowed ladder": "the ladder that I borrowed",
    "a kind letter": "your kind letter",
    "the concert tickets": "the concert tickets",
    "good advice": "your good advice",
    "a ride home": "the ride home",
    "the fresh vegetables": "the fresh vegetables",
    "the long walk": "the long walk",
    "patient lessons": "your patient lessons",
}
EVENTS = (
    "a birthday party/a picnic/a concert/a chess evening/a garden party/a film night/a cooking class/a walk by "
    "the river/a street festival/a school play/a tea party/a football match"
).split("/")
OCCASIONS = (
    "the morning/the evening/a birthday/the new year/the first day of work/the first day of school/a wedding/a holiday"
).split("/")
