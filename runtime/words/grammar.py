"""Closed word classes of English, as far as prompts of a mask tool need them. All words are case-folded.

`PARTICIPLES` is a list and not "anything in -ing", which would turn "airplane wing" into an airplane.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "ADJECTIVES",
    "COLOURS",
    "CUTS",
    "DETERMINERS",
    "FOLLOW",
    "JOINERS",
    "LEADS",
    "MEASURES",
    "NEGATIONS",
    "NEGATIVE_PAIRS",
    "OPENERS",
    "ORDINALS",
    "PARTICIPLES",
    "TRAILS",
]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


DETERMINERS: Final = _words(
    """a an the this that these those my your his her its our their all every each some any both several many
    few multiple various which whose own such half of"""
)
"""Articles, pronouns and quantifiers before a noun: "all my"."""

LEADS: Final = _words(
    """please pls kindly can could would will you i we me us want wanna need like i'd i'm looking let's just
    only mask masks masking find segment segmentation select selection detect remove show highlight cut extract
    isolate get give choose pick crop outline outlines erase delete locate where where's is are there there's
    here's what's identify grab mark draw make create generate put replace keep look help trace hi hello hey now
    around"""
)
"""Words of the request before the noun phrase: "please mask"."""

TRAILS: Final = _words("please pls plz thanks thx only")
"""Words of the request after the noun phrase."""

FOLLOW: Final = _words("of for around over on to out up at off only from with")
"""Prepositions after a lead: "a mask over the dog"."""

JOINERS: Final = frozenset(["and", "or", "plus", "n", "&", "+", "/", ",", ";", "|", ".", "\n"])
"""Words and signs that separate two things."""

CUTS: Final = _words(
    """in on at with under underneath beneath below over above near beside besides behind by from to between
    among amongst inside outside within against around across along through without for into onto upon off atop
    opposite via mid midair during before after beyond past toward towards that which who whom whose where when
    while is are was were has have had can will does do as if because there here asleep alone upstairs
    downstairs indoors outdoors together aboard who's that's which's inc"""
)
"""Words that end the noun phrase: prepositions, relative pronouns, verbs."""

OPENERS: Final = _words("with in wearing holding carrying between having")
"""Words whose clause may go on after "and": "in hat and coat" is one clause."""

ORDINALS: Final = _words("first second third fourth fifth sixth last")
"""Counting words: "the second person from the left" is a person, although "second person" is a term of grammar."""

PARTICIPLES: Final = _words(
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
"""Participles that begin a clause after a known noun: "a man riding a horse"."""

COLOURS: Final = _words(
    """red orange yellow green blue purple pink brown black white grey gray gold golden silver beige tan cream
    navy turquoise teal maroon ginger violet dark light bright pale"""
)

ADJECTIVES: Final = (COLOURS - {"orange"}) | _words(
    """big small large little tiny huge tall short long old young new round square wooden metal plastic glass
    leather striped spotted fluffy shiny wet dirty clean empty full open closed broken cute beautiful happy sad
    hairy fat thin colourful colorful male female"""
)
"""Attributes that may be joined: "red and white umbrella" is one thing."""

MEASURES: Final = _words(
    """pair slice piece bunch group herd flock couple lot row stack pile kind type sort breed picture photo
    photograph image pic shot snapshot closeup close-up pack team family crowd bit bite chunk wedge portion
    serving set swarm gaggle litter fleet collection number dozen hundred half gang mob line queue floret mask
    outline segmentation selection instance one two three four five six"""
)
"""Nouns before "of" that stand for what follows: "a slice of pizza" is pizza. "The leg of a chair" is no
chair, so parts are not here."""

NEGATIONS: Final = _words(
    """no not never none nothing neither nor except excepting excluding exclude but minus non unless instead
    avoid ignore ignoring skip dont isnt arent nobody"""
)
"""Words that say what is not meant."""

NEGATIVE_PAIRS: Final = frozenset({("other", "than"), ("apart", "from"), ("aside", "from"), ("rather", "than")})
"""Pairs of words that say what is not meant."""
