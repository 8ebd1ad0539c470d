"""English noun phrases, as people type them into a mask tool: words, separators, what may be cut away.

Grammar alone; which nouns are known is `vocabulary`'s business. The lists are closed word classes, except
`PARTICIPLES`: an open list ("anything in -ing") would turn "airplane wing" into an airplane.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from itertools import pairwise

__all__ = [
    "ADJECTIVES",
    "COLOURS",
    "CUTS",
    "DETERMINERS",
    "FOLLOW",
    "JOINERS",
    "LEADS",
    "MEASURES",
    "OPENERS",
    "PARTICIPLES",
    "TRAILS",
    "Word",
    "is_negated",
    "normalise",
    "singulars",
    "tokenise",
]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


DETERMINERS = _words(
    """a an the this that these those my your his her its our their all every each some any both several many
    few multiple various which whose own such half of"""
)
LEADS = _words(
    """please pls kindly can could would will you i we me us want wanna need like i'd i'm looking let's just
    only mask masks masking find segment segmentation select selection detect remove show highlight cut extract
    isolate get give choose pick crop outline outlines erase delete locate where where's is are there there's
    here's what's identify grab mark draw make create generate put replace keep look help trace hi hello hey now
    around"""
)
TRAILS = _words("please pls plz thanks thx only")
FOLLOW = _words("of for around over on to out up at off only from with")  # "a mask over the dog"
JOINERS = frozenset(["and", "or", "plus", "n", "&", "+", "/", ",", ";", "|", ".", "\n"])
CUTS = _words(
    """in on at with under underneath beneath below over above near beside besides behind by from to between
    among amongst inside outside within against around across along through without for into onto upon off atop
    opposite via mid midair during before after beyond past toward towards that which who whom whose where when
    while is are was were has have had can will does do as if because there here asleep alone upstairs
    downstairs indoors outdoors together aboard who's that's which's inc"""
)
OPENERS = _words("with in wearing holding carrying between having")  # "in hat and coat": one clause
PARTICIPLES = _words(
    """wearing holding riding sitting standing running walking eating drinking lying laying sleeping playing
    looking facing carrying flying jumping diving swimming surfing skiing snowboarding skating skateboarding driving
    cycling reading talking speaking using watching pushing pulling crossing waiting working grazing barking
    smiling laughing crying floating hanging leaning kneeling crouching dancing singing cooking throwing
    catching kicking hitting chasing biting licking climbing resting moving going coming getting being having
    containing showing touching staring posing perched perching sailing pointing taking making doing preparing
    writing typing texting calling petting feeding hugging kissing washing cleaning lifting sliding rolling
    falling turning following leading passing leaving entering parked seated dressed covered filled painted made
    called named seen shown placed stuck tied surrounded located chained lined loaded stacked piled decorated
    topped wrapped taken captured attached mounted hung trapped reflected covering wrapping gathered gathering
    driven held worn lit sat stood positioned hidden occluded closest nearest furthest farthest"""
)
COLOURS = _words(
    """red orange yellow green blue purple pink brown black white grey gray gold golden silver beige tan cream
    navy turquoise teal maroon ginger violet dark light bright pale"""
)
ADJECTIVES = (COLOURS - {"orange"}) | _words(
    """big small large little tiny huge tall short long old young new round square wooden metal plastic glass
    leather striped spotted fluffy shiny wet dirty clean empty full open closed broken cute beautiful happy sad
    hairy fat thin colourful colorful male female"""
)
MEASURES = _words(
    """pair slice piece bunch group herd flock couple lot row stack pile kind type sort breed picture photo
    photograph image pic shot snapshot closeup close-up pack team family crowd bit bite chunk wedge portion
    serving set swarm gaggle litter fleet collection number dozen hundred half gang mob line queue floret mask
    outline segmentation selection instance one two three four five six"""
)  # "a slice of pizza" is pizza; "the leg of a chair" is no chair, so parts are not here
_NEGATIONS = _words(
    """no not never none nothing neither nor except excepting excluding exclude but minus non unless instead
    avoid ignore ignoring skip dont isnt arent nobody"""
)
_PHRASE_NEGATIONS = frozenset({("other", "than"), ("apart", "from"), ("aside", "from"), ("rather", "than")})
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*'?|[,;/&+|\n]|(?<!\bst)(?<!\bmr)(?<!\bdr)\.(?=\s|$)", re.IGNORECASE)
_ENDINGS = {
    "ies": ("y", "ie"),
    "ves": ("f", "fe", "ve"),
    "ses": ("s", "se"),
    "xes": ("x", "xe"),
    "zes": ("z", "ze"),
    "ches": ("ch", "che"),
    "shes": ("sh", "she"),
    "oes": ("o", "oe"),
}


@dataclass(frozen=True, slots=True)
class Word:
    """One word or separator.

    Attributes
    ----------
    key
        Case-folded, without the possessive ending.
    start, end
        Where it stands in the normalised prompt.
    possessive
        It owns what follows: ``dog's``, ``dogs'``.
    glued
        A hyphen joins it to the word before, so that the "and" of "black-and-white" separates nothing.
    """

    key: str
    start: int
    end: int
    possessive: bool = False
    glued: bool = False


def normalise(prompt: str) -> str:
    """Bring compatible characters, quotes and dashes to one form."""
    text = unicodedata.normalize("NFKC", prompt)
    return text.translate({0x2019: "'", 0x2018: "'", 0x60: "'", 0x2010: "-", 0x2011: "-", 0x2028: "\n", 0x0D: "\n"})


def tokenise(text: str) -> list[Word]:
    """Split a normalised prompt into words and separators."""
    words: list[Word] = []
    for match in _WORD.finditer(text):
        raw, start = match[0].casefold(), match.start()
        glued = bool(words) and words[-1].end == start - 1 and text[start - 1] == "-"
        bare = raw.rstrip("'")
        possessive = bare.endswith("'s") or (raw != bare and bare.endswith("s"))
        key = bare[:-2] if bare.endswith("'s") and bare not in LEADS | CUTS else bare
        words.append(Word(key, start, start + len(match[0]), possessive and key not in LEADS | CUTS, glued))
    return words


def is_negated(words: list[Word]) -> bool:
    """Tell whether the words ask for what something is *not*; a mask of that something would be the wrong way round."""
    keys = [word.key for word in words]
    if any(key in _NEGATIONS or key.endswith("n't") for key in keys):
        return True
    return any(pair in _PHRASE_NEGATIONS for pair in pairwise(keys))


def singulars(phrase: str, irregular: dict[str, str]) -> list[str]:
    """Give the singular forms that a phrase may be the plural of, likeliest first.

    Examples
    --------
    >>> singulars("wine glasses", {})
    ['wine glass', 'wine glasse']
    """
    first, space, last = phrase.rpartition(" ")
    return [first + space + form for form in _singular_words(last, irregular)]


def _singular_words(word: str, irregular: dict[str, str]) -> list[str]:
    if word in irregular or (len(word) > 4 and word.endswith("men")):
        return [irregular.get(word, word[:-3] + "man")]
    if len(word) < 3 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return []
    for ending, replacements in _ENDINGS.items():
        if word.endswith(ending):
            return [word[: -len(ending)] + replacement for replacement in replacements]
    return [word[:-1]]
