"""Methods that do with a secret what they should not: they say it in every way that there is."""

import logging
import sys
from typing import Literal

from gleitzeitd.providers import MethodCall, method

protocol_name = "careless/v1"

held: list[str] = []


@method
def say(word: str, call: MethodCall) -> dict:
    """Print it, log it, and give it back."""
    held.append(word)
    logging.getLogger("careless").warning("it is %s", word, extra={"word": word})
    for at in range(0, len(word), 3):
        call.on_output("stdout", word[at : at + 3])
    call.on_progress(0.5, f"half of {word}")
    return {"word": word, word: [word, {"again": f"<{word}>"}]}


@method
async def fail(word: str) -> str:
    """Fail, with it in the message and in the traceback's variables."""
    try:
        raise KeyError(word)
    except KeyError as error:
        logging.getLogger("careless").exception("no %s", word)
        raise ValueError(f"cannot use {word}") from error


@method
def choose(word: Literal["red", "green"]) -> str:
    """Takes nothing else; what was given is in the message of the schema."""
    return word


@method
def later() -> str:
    """Say what an earlier call was given."""
    print(f"I remember {held[-1]}", file=sys.stderr)
    return held[-1]


@method(process=True)
def apart(word: str) -> str:
    """As ``say``, in a process."""
    print(word)
    return word
