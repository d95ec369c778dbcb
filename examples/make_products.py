"""Write ``products.jsonl``: 300 product descriptions of an invented shop, each with a prompt to rewrite it.

Everything is composed from the vocabulary below; which words meet is decided by hashing, so that the file is the
same on every machine and Python version. Run it from anywhere: ``python examples/make_products.py``.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

PRODUCTS = 300
TARGET = Path(__file__).with_name("products.jsonl")


class Category(NamedTuple):
    """A department of the shop: what it sells, and how people there talk about it."""

    name: str
    code: str
    audiences: tuple[str, ...]
    details: tuple[str, ...]
    cares: tuple[str, ...]
    kinds: dict[str, tuple[int, tuple[str, str], str, str, str, str]]  # noun → USD, materials, search phrase, facts


CATEGORIES = (
    Category(
        "Kitchen",
        "KIT",
        ("home cooks who bake on weekends", "people furnishing a first kitchen", "keen cooks short of cupboard space"),
        (
            "It is made of {material}, generously, and forgives a distracted cook.",
            "It is used every day in the canteen of our own warehouse, and it shows no sign of tiring.",
            "A small workshop in the Vosges makes it, and the date is stamped underneath.",
            "The box is the size of the contents and doubles as a place to keep it.",
            "We had it tested for lead and cadmium by an independent laboratory and publish the report.",
            "There are no grooves or joints where anything could collect.",
        ),
        (
            "Wash by hand with warm water and dry at once.",
            "Keep it out of the dishwasher, whatever the neighbours say.",
            "Wipe with a drop of neutral oil after every third use.",
        ),
        {
            "Dutch oven": (
                140,
                ("enamelled cast iron", "raw cast iron"),
                "cast iron Dutch oven",
                "The lid is ribbed underneath, so steam falls back evenly over the roast.",
                "At 5.2 litres it takes a two-kilogram chicken or bread dough from 800 g of flour.",
                "It is heavy, 5.6 kg with the lid, and that is precisely why it holds its heat.",
            ),
            "chef's knife": (
                110,
                ("carbon steel", "stainless steel"),
                "20 cm chef's knife",
                "The blade is 20 cm long and sharpened to 15 degrees on each side.",
                "A rounded spine keeps the grip comfortable through a crate of onions.",
                "It leaves the workshop sharp enough to shave paper and comes with a blade guard.",
            ),
            "pour-over coffee set": (
                48,
                ("borosilicate glass", "stoneware"),
                "pour over coffee maker set",
                "The dripper's spiral ribs keep the paper off the wall, so the bed drains evenly.",
                "The carafe holds six hundred millilitres, enough for two generous mugs.",
                "A notch in the rim shows when the second pour should start.",
            ),
            "salad bowl": (
                55,
                ("acacia wood", "stoneware"),
                "large salad bowl with servers",
                "It is wide rather than deep, so dressing reaches every leaf without crushing any.",
                "The two servers hook over the rim and do not slide into the bowl.",
                "Thirty-two centimetres across, it feeds six as a main course.",
            ),
            "crêpe pan": (
                60,
                ("carbon steel", "cast iron"),
                "non-stick crêpe pan without coating",
                "The rim is only 1.5 cm high, which lets a spatula in from any side.",
                "It arrives seasoned with two layers of linseed oil and gets better with use.",
                "A long, angled handle makes the flip feel less like a dare.",
            ),
            "spice rack": (
                42,
                ("brushed steel", "oiled oak"),
                "wall mounted spice rack",
                "Twelve jars stand in two rows, tilted so that every label can be read.",
                "The lids have a shaker side and a spoon side.",
                "It mounts with two screws, or with the adhesive strips in the box on smooth tiles.",
            ),
        },
    ),
    Category(
        "Outdoor",
        "OUT",
        ("weekend hikers", "families on their first camping trip", "bicycle tourists who count every gram"),
        (
            "Every sample spends a season with a mountain rescue team before it goes into production.",
            "The {material} shrugs off thorns and granite alike.",
            "The stuff sack weighs eleven grams and closes with one hand.",
            "Everything that has to be opened can be opened with gloves on.",
            "Spare parts have been on sale since the first model and still fit it.",
            "Small reflective marks make it easy to find again after dark.",
        ),
        (
            "Rinse after salt water and let it dry in the shade.",
            "Clean with lukewarm water and a soft brush.",
            "Store it dry and loosely packed between trips.",
        ),
        {
            "two-person tent": (
                320,
                ("ripstop nylon", "recycled polyester"),
                "lightweight two person tent",
                "The inner tent hangs from the poles, so it stays dry when pitched in the rain.",
                "Two doors mean nobody climbs over anybody at three in the morning.",
                "It weighs 1.9 kg with pegs and stands in about six minutes.",
            ),
            "daypack": (
                95,
                ("recycled polyester", "waxed canvas"),
                "25 litre hiking daypack",
                "Twenty-five litres hold a warm layer, lunch and a thermos with room for somebody else's jacket.",
                "A mesh back panel keeps a finger's width of air behind you.",
                "The hip belt comes off in seconds when the pack goes to the office.",
            ),
            "sleeping bag": (
                180,
                ("ripstop nylon", "recycled polyester"),
                "three season sleeping bag",
                "The comfort limit is 2 °C by EN ISO 23537, measured and not estimated.",
                "The zip runs round the foot, so it opens into a blanket for two.",
                "A draught collar closes with one hand, from the inside, in the dark.",
            ),
            "camping stove": (
                54,
                ("titanium", "anodised aluminium"),
                "compact gas camping stove",
                "It boils half a litre in two minutes forty with the lid on.",
                "The pot supports fold flat and have teeth that hold even a narrow mug.",
                "A low flame that really is low makes it as good for porridge as for pasta.",
            ),
            "trekking poles": (
                88,
                ("carbon fibre", "anodised aluminium"),
                "folding trekking poles",
                "They fold to 36 cm and lock with a click you can feel through mittens.",
                "Cork grips dry quickly and stay put in the rain.",
                "The set comes with trail tips, mud baskets and rubber feet for asphalt.",
            ),
            "head torch": (
                46,
                ("anodised aluminium", "recycled polycarbonate"),
                "rechargeable head torch 400 lumens",
                "Four hundred lumens are there when needed; the reading light lasts eighty hours.",
                "It locks, so it cannot switch itself on inside a rucksack.",
                "A red mode saves night vision and the patience of tent mates.",
            ),
        },
    ),
    Category(
        "Bath & Body",
        "BTH",
        ("people with sensitive skin", "shoppers who look for plastic-free packaging", "gift buyers in November"),
        (
            "It is made with {material}, in batches of forty, and the batch number is stamped on the label.",
            "There is no perfume in it; the faint scent comes from the plants themselves.",
            "The whole ingredient list fits on one line.",
            "There is no plastic in the packaging, inside or out.",
            "Dermatologists tested it on thirty volunteers with reactive skin; nobody had to stop.",
            "A little is enough, however tempting more may be.",
        ),
        (
            "Used every day, it lasts about eight weeks.",
            "Store below 25 °C; it softens in summer and recovers in the fridge.",
            "Use within nine months of opening.",
        ),
        {
            "shampoo bar": (
                9,
                ("oat milk", "rosemary water"),
                "solid shampoo bar for dry hair",
                "One bar replaces two bottles of 250 ml.",
                "It lathers in hard water too, which most solid shampoos do not.",
                "A cotton loop lets it hang from the tap to dry.",
            ),
            "hand cream": (
                14,
                ("shea butter", "almond oil"),
                "fragrance free hand cream",
                "It is absorbed in about a minute and leaves no prints on a telephone.",
                "Nurses on our test panel used it after every wash for a month.",
                "The tube can be squeezed to the very last gram.",
            ),
            "bath salt": (
                16,
                ("dried lavender", "rosemary"),
                "relaxing bath salt",
                "Coarse crystals dissolve slowly, so the scent arrives in waves.",
                "A measuring spoon is tied to the bag; two of it are enough for a tub.",
                "The salt comes from a family works on the Atlantic coast.",
            ),
            "face oil": (
                28,
                ("jojoba oil", "rosehip oil"),
                "lightweight face oil for night",
                "Three drops, pressed in rather than rubbed, are a full application.",
                "It sinks in overnight and leaves no shine on the pillow.",
                "The dropper is marked, so you know how much you have used.",
            ),
            "shaving soap": (
                15,
                ("kaolin clay", "shea butter"),
                "traditional shaving soap",
                "It makes a dense lather with a brush and a usable one without.",
                "The razor glides, and the skin feels calm rather than tight afterwards.",
                "The tin closes watertight and survives a wash bag.",
            ),
            "lip balm": (
                6,
                ("beeswax", "cocoa butter"),
                "natural lip balm without petroleum",
                "It is firm enough for a trouser pocket and soft enough for frost.",
                "There is no menthol, so it soothes instead of tingling.",
                "The paper tube pushes up from below, like the ones of the nineteen-fifties.",
            ),
        },
    ),
    Category(
        "Home Office",
        "OFF",
        ("people who work from a bedroom corner", "programmers with sore wrists", "students in small flats"),
        (
            "The {material} is finished by hand and pleasant to touch.",
            "It was tested for ten years of use in six weeks, by a patient machine.",
            "It is ready for use minutes after the doorbell rings; if a tool is needed, it is in the box.",
            "Nothing on it blinks, beeps or needs an account.",
            "Rounded edges are kind to forearms during long calls.",
            "Anything that wears out can be ordered for as long as we exist.",
        ),
        (
            "Dust with a dry cloth; use a damp one for coffee rings.",
            "Keep it out of direct sun, which fades any surface in time.",
            "Small scratches can be waxed over; we send the wax.",
        ),
        {
            "standing desk": (
                480,
                ("walnut veneer", "bamboo"),
                "electric standing desk for small rooms",
                "Two motors lift it from 62 to 127 cm, at less noise than a refrigerator.",
                "Four positions can be stored; a child lock is one of the few settings.",
                "The top is 120 × 60 cm, made for rooms where a large desk will not go.",
            ),
            "monitor arm": (
                110,
                ("die-cast aluminium", "powder-coated steel"),
                "single monitor arm clamp",
                "A gas spring holds screens from two to nine kilograms wherever you leave them.",
                "It clamps to tops from 1 to 8 cm and needs no drilled hole.",
                "The screen turns upright for reading long documents.",
            ),
            "desk lamp": (
                89,
                ("anodised aluminium", "powder-coated steel"),
                "dimmable desk lamp warm light",
                "Colour goes from candle to daylight without a step or a flicker.",
                "The head is slim and throws no reflection on the screen.",
                "A dial, not a touch field, sets the brightness, so fingers find it without looking.",
            ),
            "notebook": (
                18,
                ("linen", "vegetable-tanned leather"),
                "dotted notebook A5 120 gsm",
                "The paper is 120 gsm and takes fountain pens without bleeding.",
                "Pages are numbered, and the first four are an empty table of contents.",
                "It opens flat at any page thanks to a sewn binding.",
            ),
            "footrest": (
                52,
                ("beech", "recycled ABS"),
                "ergonomic tilting footrest",
                "It rocks by 15 degrees, which keeps ankles moving without anybody noticing.",
                "The surface is ribbed and pleasant in socks.",
                "Turned over, it becomes a fixed step of 11 cm.",
            ),
            "headphone stand": (
                39,
                ("walnut", "powder-coated steel"),
                "minimal headphone stand",
                "The bow is wide and padded, so headbands keep their shape.",
                "A shallow tray in the base takes the adapter you always lose.",
                "It is weighted and stays put when a cable is tugged.",
            ),
        },
    ),
    Category(
        "Garden",
        "GRD",
        ("balcony gardeners", "owners of small town gardens", "people growing their first tomatoes"),
        (
            "Made of {material}, it is meant to stay outside for years and look better for it.",
            "The edges are smooth, so bare hands come away without a scratch.",
            "It is made forty kilometres from our warehouse.",
            "Frost is no problem down to minus fifteen.",
            "Replacement parts cost less than a bag of compost.",
            "Our own test garden has used one since 2019.",
        ),
        (
            "Bring it under a roof for the hardest weeks of winter, if there is one.",
            "Brush off soil before putting it away.",
            "A drop of oil in spring does it good.",
        ),
        {
            "raised bed": (
                150,
                ("galvanised steel", "larch"),
                "raised garden bed galvanised",
                "At 80 cm high it spares backs and keeps out most rabbits.",
                "The four walls slot together without tools in ten minutes.",
                "It takes three hundred litres of soil; we list a filling that costs half as much.",
            ),
            "watering can": (
                44,
                ("galvanised steel", "copper"),
                "long spout watering can",
                "The long spout reaches the back row of a window box without a spill.",
                "Full, it holds five litres and balances on one finger.",
                "The rose is brass and unscrews for cleaning.",
            ),
            "pruning shears": (
                49,
                ("forged steel", "stainless steel"),
                "bypass pruning shears",
                "They cut twigs of up to 22 mm cleanly, without crushing the stem.",
                "The spring is a single piece of wire that cannot jump out.",
                "Left-handed gardeners get a version of their own at the same price.",
            ),
            "compost bin": (
                79,
                ("recycled plastic", "larch"),
                "compost bin for small gardens",
                "Warm air rises through the double wall and speeds up the heap.",
                "A flap at the bottom lets you take what is ready without disturbing the rest.",
                "It holds 220 litres on a footprint of half a square metre.",
            ),
            "bird feeder": (
                38,
                ("powder-coated steel", "larch"),
                "squirrel proof bird feeder",
                "The perches close under anything heavier than a jay.",
                "Seed stays dry under a roof that overhangs on all sides.",
                "It comes apart without tools, since a clean feeder is a healthy one.",
            ),
            "plant pot set": (
                36,
                ("terracotta", "glazed stoneware"),
                "plant pots with saucers set of three",
                "Three sizes share one saucer design and stack for winter.",
                "The walls breathe, which forgives a heavy hand with the watering can.",
                "The drainage hole is large and comes with a shard to cover it.",
            ),
        },
    ),
    Category(
        "Toys & Games",
        "TOY",
        ("parents of three-year-olds", "grandparents looking for a present", "teachers in primary schools"),
        (
            "It is made of {material} and certified to EN 71, parts one to three.",
            "No batteries are needed, and nothing will ever ask for an update.",
            "Lost or chewed parts can be replaced, one by one, at cost.",
            "The box is sturdy enough to be a toy itself.",
            "Colours were chosen so that colour-blind children enjoy them too.",
            "Children of different ages can play together without anybody being bored.",
        ),
        (
            "Wipe with a damp cloth; do not soak.",
            "Keep it in its box when the game is over, and it will see grandchildren.",
            "Air it in the sun now and then; it likes that.",
        ),
        {
            "building blocks": (
                45,
                ("beech wood", "maple"),
                "wooden building blocks 100 pieces",
                "A hundred blocks in nine shapes are cut to a tenth of a millimetre, so towers stand.",
                "Corners are rounded enough for bare feet.",
                "The bag opens into a play mat and pulls shut with everything inside.",
            ),
            "marble run": (
                68,
                ("beech wood", "maple"),
                "wooden marble run expandable",
                "Forty pieces click together without glue or swearing.",
                "A paddle wheel slows the marble down just before the finish.",
                "Every later set fits this one.",
            ),
            "hand puppet": (
                29,
                ("organic cotton plush", "mohair"),
                "plush hand puppet fox",
                "The mouth moves, and small hands reach it as easily as large ones.",
                "Eyes are embroidered, so there is nothing to swallow.",
                "A booklet has five short scenes to start with.",
            ),
            "card game": (
                14,
                ("linen-finished card", "recycled card"),
                "family card game ages 6 up",
                "A round takes fifteen minutes and is explained in two.",
                "Losing is funny, which has saved many an evening.",
                "The cards are linen-finished and survive sticky fingers.",
            ),
            "balance bike": (
                99,
                ("birch plywood", "steel tube"),
                "balance bike from 2 years",
                "The saddle goes down to 30 cm, low enough for most two-year-olds.",
                "Tyres are solid and never flat.",
                "The steering is limited to forty degrees, so the bar cannot fold in.",
            ),
            "puzzle": (
                22,
                ("recycled card", "birch plywood"),
                "illustrated jigsaw puzzle 500 pieces",
                "Five hundred pieces show a harbour with more than eighty small stories to find.",
                "Each piece fits in one place only, and fits there firmly.",
                "There is almost no dust in the box, because the pieces are cut and then vacuumed.",
            ),
        },
    ),
    Category(
        "Clothing",
        "CLO",
        ("commuters who cycle to work", "people who buy fewer and better clothes", "tall customers"),
        (
            "The {material} was woven in Portugal and sewn twelve kilometres from the mill.",
            "Seams are felled on the inside, so nothing rubs.",
            "It is offered in nine sizes, and the size table was measured on real people.",
            "The label is printed, not sewn in, so nothing scratches.",
            "It shrinks by less than two per cent, because the cloth is washed before it is cut.",
            "We mend it free of charge for three years.",
        ),
        (
            "Wash at 30 °C with similar colours and hang to dry.",
            "Air it overnight instead of washing; it needs little else.",
            "Keep it away from the tumble dryer.",
        ),
        {
            "Oxford shirt": (
                79,
                ("organic cotton", "Irish linen"),
                "men's Oxford shirt regular fit",
                "The collar rolls instead of standing to attention.",
                "The tail is short enough to be worn outside the trousers.",
                "A hidden button under the collar keeps a tie in its place, should there be one.",
            ),
            "rain jacket": (
                169,
                ("recycled polyester", "three-layer nylon"),
                "cycling rain jacket unisex",
                "The back is cut long and the hood fits under a helmet.",
                "Vents under the arms open with one hand at a red light.",
                "A water column of 15,000 mm means two hours in a real downpour.",
            ),
            "crew-neck sweater": (
                119,
                ("extra-fine merino", "recycled wool"),
                "merino crew neck sweater women",
                "The knit is light enough to wear under a blazer.",
                "Cuffs and hem are doubled and keep their shape.",
                "It does not itch; that is the first thing people write in their reviews.",
            ),
            "chinos": (
                89,
                ("organic cotton twill", "brushed cotton"),
                "slim chinos with stretch",
                "Two per cent elastane makes sitting down a non-event.",
                "A zipped pocket inside the right pocket holds keys or a passport.",
                "Legs come unhemmed on request, for anybody over 190 cm.",
            ),
            "winter socks": (
                27,
                ("merino terry", "recycled wool"),
                "thick winter socks pack of three",
                "The terry sole is warm without filling the shoe.",
                "They stay up without leaving marks.",
                "Heel and toe are reinforced with the same yarn that climbers trust.",
            ),
            "scarf": (
                65,
                ("lambswool", "extra-fine merino"),
                "large woven scarf unisex",
                "At two metres it goes round twice and still hangs well.",
                "The fringe is twisted by hand.",
                "It is woven in a herringbone that is only visible from close by.",
            ),
        },
    ),
    Category(
        "Pets",
        "PET",
        ("owners of a first puppy", "people with indoor cats", "walkers of large and lively dogs"),
        (
            "Teeth have tried: the {material} won in nine cases out of ten.",
            "There are no small parts that could be swallowed.",
            "Hair comes off with a damp hand.",
            "Our shelter partners use it every day and told us what to change.",
            "It smells of nothing, which animals appreciate more than we do.",
            "Five per cent of the price goes to a spaying programme.",
        ),
        (
            "Wash with lukewarm water and mild soap.",
            "Let it dry in the air, away from radiators.",
            "Look it over once a month and replace it when it is worn.",
        ),
        {
            "dog harness": (
                39,
                ("hemp webbing", "recycled nylon"),
                "no pull dog harness",
                "A ring at the chest turns a pulling dog gently round.",
                "It goes on without lifting a paw.",
                "Four adjustment points fit everything from a whippet to a bulldog.",
            ),
            "cat tree": (
                129,
                ("beech and sisal", "birch plywood and sisal"),
                "small cat tree for flats",
                "It is 110 cm high and stands on a base of fourteen kilograms.",
                "The upper shelf is wide enough for a Maine Coon to lie down on.",
                "Scratching posts are screwed on and can be replaced.",
            ),
            "slow feeder bowl": (
                18,
                ("stoneware", "natural rubber"),
                "slow feeder bowl for dogs",
                "The ridges make a meal last six times as long.",
                "A rubber ring keeps it from touring the kitchen.",
                "There are no corners where food could hide from the brush.",
            ),
            "orthopaedic dog bed": (
                115,
                ("felted wool", "recycled polyester"),
                "orthopaedic dog bed washable",
                "Two layers of foam, one soft and one firm, relieve the joints of old dogs.",
                "The front edge is lower, for an easy way in.",
                "The inner cover is waterproof and does not rustle.",
            ),
            "tug toy": (
                15,
                ("climbing rope", "natural rubber"),
                "durable tug toy for large dogs",
                "The handle is padded on the human side.",
                "It floats, so lakes are fair game.",
                "The knot tightens under load and never comes undone.",
            ),
            "travel carrier": (
                69,
                ("recycled polyester", "waxed canvas"),
                "cat carrier with top opening",
                "It opens at the top and the front, which vets thank you for.",
                "A seat belt loop on the back holds it in the car.",
                "The floor pad is absorbent and comes with a spare.",
            ),
        },
    ),
    Category(
        "Audio",
        "AUD",
        ("people who listen to whole albums", "commuters in loud trains", "musicians on a budget"),
        (
            "The {material} is there for the sound first and for the looks second.",
            "Everything that wears out can be replaced at home with a screwdriver.",
            "Two years of firmware fixes are behind it, and none has taken a feature away.",
            "It works without an app or an account.",
            "The cable in the box is braided, a metre and a half long, and worth keeping.",
            "The frequency response is printed on the box, measured and not smoothed.",
        ),
        (
            "Wipe with a dry microfibre cloth.",
            "Keep it away from direct sun and radiators.",
            "Brush the grille gently; never use compressed air.",
        ),
        {
            "over-ear headphones": (
                249,
                ("die-cast aluminium", "recycled polycarbonate"),
                "noise cancelling over ear headphones",
                "Noise cancelling takes away the train and leaves the announcements.",
                "They weigh 240 g, which is forgotten after ten minutes.",
                "Forty hours of playing time cover a week of commuting.",
            ),
            "bookshelf speakers": (
                390,
                ("oiled oak", "black ash veneer"),
                "active bookshelf speakers pair",
                "Two times forty watts fill a room of thirty square metres.",
                "A switch on the back adapts the bass to a place close to the wall.",
                "They take a record player directly, since the phono stage is built in.",
            ),
            "portable speaker": (
                99,
                ("woven fabric", "silicone"),
                "waterproof portable speaker",
                "It floats face up and goes on playing.",
                "Two of them find each other and become a stereo pair.",
                "The strap is a real rope with a real carabiner.",
            ),
            "USB microphone": (
                119,
                ("die-cast zinc", "anodised aluminium"),
                "USB microphone for podcasts",
                "A cardioid pattern ignores the keyboard and the street.",
                "The mute button is silent and glows red.",
                "It plugs in and is ready: no driver, on any system we tried.",
            ),
            "record player": (
                420,
                ("oiled walnut", "black ash veneer"),
                "belt drive record player",
                "The belt is easy to reach, and the speed is right within 0.2 per cent.",
                "A counterweight and anti-skating let you fit another cartridge later.",
                "The arm lifts by itself at the end of a side.",
            ),
            "earbuds": (
                129,
                ("recycled polycarbonate", "brushed aluminium"),
                "true wireless earbuds small ears",
                "Five sizes of tips include one for really small ears.",
                "They survive rain, sweat and a cycle in the washing machine, which we do not recommend.",
                "Calls are clear, because three microphones agree on who is talking.",
            ),
        },
    ),
    Category(
        "Coffee & Tea",
        "CAF",
        ("espresso drinkers who grind at home", "tea drinkers tired of bags", "offices that want better coffee"),
        (
            "It is packed in {material}, within four hours of leaving the drum or the drying rack.",
            "The farm's name, altitude and price per kilogram are printed on the back.",
            "We pay forty per cent above the Fairtrade minimum and publish every contract.",
            "The harvest is this year's; we do not buy stock.",
            "It is certified organic, and the inspector is named on the label.",
            "A card suggests a recipe, and a second one for people in a hurry.",
        ),
        (
            "Keep cool, dark and closed; best within eight weeks of opening.",
            "Store away from spices, because it takes on their smell.",
            "Freeze in portions if you buy the large size.",
        ),
        {
            "espresso blend": (
                28,
                ("a bag of unbleached paper", "a tin with an inner lid"),
                "espresso beans low acidity 1 kg",
                "Brazil brings hazelnut and Ethiopia a little apricot on top.",
                "It forgives a grinder that is not quite right.",
                "In milk it tastes of praline.",
            ),
            "filter roast": (
                17,
                ("a bag of unbleached paper", "a resealable pouch"),
                "light roast filter coffee single origin",
                "Bergamot and red currant come first, honey when it cools.",
                "It grows at 2,100 metres and takes nine months to ripen.",
                "We roast it only as far as it needs to lose the taste of grass.",
            ),
            "green tea": (
                19,
                ("a tin with an inner lid", "a resealable pouch"),
                "Japanese green tea loose leaf",
                "Deep steaming gives it a cup like jade and no bitterness at 70 °C.",
                "Three infusions are normal, and the second is the best.",
                "It comes from a garden in Kagoshima run by three sisters.",
            ),
            "herbal infusion": (
                9,
                ("compostable film", "a bag of unbleached paper"),
                "caffeine free herbal tea evening",
                "Lemon verbena, lime blossom and a few cornflowers make an evening drink without caffeine.",
                "The leaves are whole, so they stay in any strainer.",
                "Children like it cold, with a slice of apple.",
            ),
            "decaf coffee": (
                16,
                ("a bag of unbleached paper", "a resealable pouch"),
                "decaf coffee beans water process",
                "Caffeine is taken out with water and carbon filters alone.",
                "In a blind tasting, eight of twelve did not notice.",
                "Chocolate and dried fig remain, and so does a good night's sleep.",
            ),
            "chai mix": (
                11,
                ("a glass jar", "a tin with an inner lid"),
                "masala chai loose spice mix",
                "Cardamom is crushed on the day of packing, and you can tell.",
                "There is no sugar in it, which leaves that decision to you.",
                "Simmer two teaspoons in equal parts of milk and water for five minutes.",
            ),
        },
    ),
)

NAMES = (
    "Alder",
    "Brisk",
    "Cove",
    "Dune",
    "Ember",
    "Fjord",
    "Grove",
    "Harbour",
    "Ibis",
    "Juniper",
    "Kestrel",
    "Lark",
    "Meadow",
    "North",
    "Otter",
    "Pebble",
    "Quill",
    "Ridge",
    "Sable",
    "Tarn",
    "Umber",
    "Vale",
    "Willow",
    "Yarrow",
)
CENTS = ("00", "50", "90", "95")
VARIANTS = {
    "BTH": ("the travel size", "the refill size", "the gift box", "the trial size"),
    "CAF": ("the 250 g size", "the 500 g size", "the gift edition", "the office size"),
    "TOY": ("bright colours", "soft colours", "the natural finish"),
}
COLOURS = ("sage", "charcoal", "sand", "night blue", "brick red", "ochre", "ivory", "moss", "slate", "plum", "natural")

TASKS = (
    "Please rewrite the product description below so that it ranks for “{search}” and still reads as if a person who "
    "owns the thing had written it.",
    "You are the copy editor of a small online shop. Turn the notes below into a product page that people find when "
    "they search for “{search}”.",
    "The following description brings almost no visitors from search engines. Rewrite it around the phrase “{search}” "
    "without stuffing it.",
    "Write a new description for our {category} department from the old one below. Shoppers reach it by typing "
    "“{search}” or something close to it.",
    "Our catalogue text for this {noun} is accurate and dull. Keep it accurate; the search phrase to serve is "
    "“{search}”.",
    "Rewrite this listing for search. The main phrase is “{search}”; use it in the title, once early in the text, and "
    "wherever else it comes naturally.",
)
AUDIENCES = (
    "The page is read mostly by {audience}.",
    "Picture {audience} while you write.",
    "We sell it above all to {audience}, who compare three or four shops before they buy.",
    "Most buyers are {audience}; they know little jargon and dislike being shouted at.",
)
OPENERS = (
    "You can have the {title} in {variant}.",
    "Meet the {title}, part of our range since the shop opened.",
    "Made for every day, and now also to be had in {variant}: the {title}.",
    "New this season in {variant}: the {title}.",
    "After two years of samples we are happy with the {title}, and we think you will be too.",
    "Customers asked for something that lasts; our answer is the {title}.",
    "There are cheaper ways to go about it. We made the {title} for those who would rather buy once.",
    "With the {title} we replaced last year's version and kept everything that people liked about it.",
)
CLOSERS = (
    "It ships within one working day and can be returned for sixty days.",
    "Delivery takes two to four days; we send it without plastic.",
    "It comes with a guarantee of five years and a telephone number that people answer.",
    "Available in {variant} and two further versions while stocks last.",
    "Gift wrapping is free; add a note in the basket.",
    "Questions are answered by the two people who designed it.",
)
NOTES = (
    "Note from the buyer: the old text calls it “premium” four times. Please do not.",
    "Note from customer service: people ask every day about the size, so put measurements where nobody can miss them.",
    "Note from the warehouse: the box changed in spring, so say nothing about its looks.",
    "Note from legal: make no promise about health or the environment that is not in the text.",
    "Two reviews complain about the price. Do not mention it; explain what one gets.",
    "A competitor ranks first with a list of ten bullet points. We would rather win with three good sentences.",
    "The last rewrite was written for robots, and it showed in the returns.",
)
FORMATS = (
    "Give me a title of at most 60 characters, a meta description of at most 155, and 120 to 160 words of text.",
    "Answer with a title, two paragraphs and three bullet points, in British English.",
    "I need a title, a meta description and one paragraph of about a hundred words, without exclamation marks.",
    "Return a headline, 150 words of text, and five further search phrases that the page could serve.",
    "Write a title tag, a meta description and the text in three short paragraphs: what it is, why it is good, how to "
    "look after it.",
    "Keep it under 130 words, add a title and a one-line summary for the category page, and end without a slogan.",
)
FACTS = (
    "Invent nothing: every claim must be in the text above.",
    "Do not add facts, prices or certificates that are not mentioned here.",
    "If something is not stated, leave it out; a wrong detail costs us a return.",
    "Stay with the facts given; tone is yours to change.",
)


VOICES = (
    "Our voice is calm and a little dry. We say what a thing does, how long it lasts and whom it is not for, and we "
    "let readers draw the conclusion. Short sentences are welcome, and so is the occasional longer one; superlatives, "
    "rhetorical questions and the word “perfect” are not.",
    "House style: address the reader as “you”, prefer verbs to adjectives, put the most useful fact first and the "
    "loveliest last. Numbers are written as figures with their units. We do not write “eco-friendly”; we say what the "
    "material is and where it comes from, and leave the judging to others.",
    "The shop sounds like a good sales assistant in a quiet hour: friendly, exact, in no hurry, and honest about what "
    "a cheaper product would do as well. If a sentence would fit any other product in the category, cut it.",
    "Write for somebody who is standing in a tram and reading on a telephone. The first forty words have to carry the "
    "argument alone; the rest is for those who scroll. One idea a sentence, no brackets, no jargon without a reason.",
)
REVIEWS = (
    "A buyer from last winter wrote: “I hesitated for months and now I am cross about the months.” You may echo the "
    "thought, but do not quote it.",
    "In the reviews, three things are praised again and again: it arrives quickly, it feels solid in the hand, and it "
    "does what the page says. The last of these is the reason why we are careful with this text.",
    "The most helpful review gives it four stars of five and says that it looked smaller on the screen. "
    "Everybody who answered it disagreed.",
    "Forty-one people have reviewed it so far, with an average of 4.6; the average of the department is 4.3.",
)


def pick(words: tuple[str, ...], *salt: object, count: int = 1) -> list[str]:
    """Return ``count`` different words in an order that depends on the salt alone."""
    return sorted(words, key=lambda word: hashlib.sha256(repr((word, *salt)).encode()).digest())[:count]


def number(low: int, high: int, *salt: object) -> int:
    """Return a number from ``low`` to ``high`` that depends on the salt alone."""
    digest = hashlib.sha256(repr(salt).encode()).digest()
    return low + int.from_bytes(digest[:8]) % (high - low + 1)


def make_product(index: int) -> dict[str, str]:
    """Return the product of that index: ``id``, ``name``, ``category``, ``price`` in USD and ``prompt``."""
    category = CATEGORIES[index % len(CATEGORIES)]
    nouns = tuple(category.kinds)
    turn = index // len(CATEGORIES)
    noun = nouns[turn % len(nouns)]
    price_usd, materials, search, *facts = category.kinds[noun]
    words = {
        "noun": noun,
        "search": search,
        "category": category.name,
        "material": pick(materials, index, "material")[0],
        "variant": pick(VARIANTS.get(category.code, COLOURS), index, "variant")[0],
        "audience": pick(category.audiences, index, "audience")[0],
        # One step through the names for each time round the nouns: no two products share a name.
        "title": f"{NAMES[(turn // len(nouns) * 5 + index) % len(NAMES)]} {noun}",
    }
    paragraphs = [*pick(TASKS, index, "task"), "Current description:", _description(category, tuple(facts), index)]
    if number(0, 3, index, "has audience"):
        paragraphs[0] += " " + pick(AUDIENCES, index, "how")[0]
    if number(0, 2, index, "has voice"):
        paragraphs.insert(1, pick(VOICES, index, "voice")[0])
    if number(0, 2, index, "has review"):
        paragraphs += pick(REVIEWS, index, "review")
    paragraphs += pick(NOTES, index, "note", count=number(0, 2, index, "how many notes"))
    paragraphs.append(" ".join((*pick(FORMATS, index, "format"), *pick(FACTS, index, "facts"))))
    dollars = number(price_usd * 9 // 10, price_usd * 11 // 10, index, "price")
    return {
        "id": f"sku-{category.code}-{1000 + 37 * index}",
        "name": words["title"],
        "category": category.name,
        "price": f"{dollars}.{pick(CENTS, index, 'cents')[0]}",
        "prompt": "\n\n".join(paragraphs).format(**words),
    }


def _description(category: Category, facts: tuple[str, ...], index: int) -> str:
    details = pick(category.details, index, "details", count=number(2, 5, index, "how many details"))
    body = pick((*facts, *details), index, "order", count=len(facts) + len(details) - number(0, 1, index, "drop"))
    closing = pick((*category.cares, *CLOSERS), index, "closing", count=number(1, 3, index, "how many closings"))
    return " ".join((*pick(OPENERS, index, "opener"), *body, *closing))


def main() -> None:
    """Write the file."""
    rows = (json.dumps(make_product(index), ensure_ascii=False) for index in range(PRODUCTS))
    TARGET.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
