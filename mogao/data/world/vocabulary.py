"""The words of the world: concept names, plurals, categories and the icons that show them.

In: nothing. Out: `GENEVAL` (the 80 classes by GenEval's names) and `EXTRA` (40 more), in the order
of the cells of the atlas. Read by `build`; at run time the same facts come from the atlas.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Word:
    """One concept before it has a sprite.

    Attributes:
        id: Plain English singular.
        plural: Plain English plural.
        category: animal, food, vehicle, furniture, device, kitchen, sport, clothes, nature,
            building, thing or person.
        noto: Icon name in the Noto set; empty means the id with hyphens.
        fluent: Icon name in the Fluent set; empty means the Noto name.
    """

    id: str
    plural: str
    category: str
    noto: str = ""
    fluent: str = ""

    def icon(self, style: str) -> str:
        """Name of the icon that shows the concept in a style."""
        noto = self.noto or self.id.replace(" ", "-")
        return (self.fluent or noto) if style == "fluent" else noto


def _words(category: str, text: str) -> list[Word]:
    """Parse `id/plural=noto/fluent` items; all but the id may be left out (the plural adds s)."""
    words = []
    for item in text.split(", "):
        name, _, icon = item.partition("=")
        singular, _, plural = name.partition("/")
        noto, _, fluent = icon.partition("/")
        words.append(Word(singular, plural or f"{singular}s", category, noto, fluent))
    return words


GENEVAL: tuple[Word, ...] = (
    *_words("person", "person/people=person-standing"),
    *_words(
        "vehicle",
        "bicycle, car=automobile, motorcycle, airplane, bus/buses, train=locomotive, "
        "truck=delivery-truck, boat=sailboat",
    ),
    *_words(
        "thing",
        "traffic light=vertical-traffic-light, fire hydrant, stop sign, parking meter, umbrella, "
        "book=closed-book, clock=alarm-clock, vase, scissors/pairs of scissors, teddy bear, "
        "hair drier, toothbrush/toothbrushes",
    ),
    *_words("furniture", "bench/benches, chair, couch/couches, bed, dining table, toilet"),
    *_words(
        "animal",
        "bird, cat, dog, horse/horses, sheep/sheep=ewe, cow, elephant, bear, zebra, giraffe",
    ),
    *_words("clothes", "backpack, handbag, tie, suitcase=luggage"),
    *_words(
        "sport",
        "frisbee=flying-disc, skis/pairs of skis, snowboard, sports ball=soccer-ball, kite, "
        "baseball bat, baseball glove, skateboard, surfboard, tennis racket",
    ),
    *_words(
        "kitchen",
        "bottle, wine glass/wine glasses, cup=hot-beverage, fork, knife/knives=kitchen-knife, "
        "spoon, bowl, microwave, oven, toaster, sink, refrigerator",
    ),
    *_words(
        "food",
        "banana, apple=red-apple, sandwich/sandwiches, orange=tangerine, broccoli/broccolis, "
        "carrot, hot dog, pizza, donut=doughnut, cake=shortcake",
    ),
    *_words("nature", "potted plant"),
    *_words(
        "device",
        "tv=television, laptop, computer mouse/computer mice, tv remote, "
        "computer keyboard=keyboard, cell phone=mobile-phone",
    ),
)

EXTRA: tuple[Word, ...] = (
    *_words(
        "animal",
        "fox/foxes, rabbit, penguin, frog, owl, lion, pig, turtle, snail, octopus/octopuses, "
        "whale=spouting-whale, crab, duck, butterfly/butterflies, fish/fish=tropical-fish",
    ),
    *_words(
        "nature",
        "star, tree=deciduous-tree, sun, moon=crescent-moon, mushroom, flower=hibiscus, "
        "cactus/cactuses",
    ),
    *_words("building", "house, castle"),
    *_words("vehicle", "rocket, helicopter, tractor"),
    *_words(
        "thing",
        "balloon, key, crown, guitar, bell, gift=wrapped-gift, heart=red-heart, robot, snowman",
    ),
    *_words("food", "strawberry/strawberries, lemon, watermelon, pineapple"),
)
