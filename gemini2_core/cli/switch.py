"""``gemini2 switch``, ``rollback`` and ``drop-old``: what an alias names, in one step."""

from __future__ import annotations

import argparse
import sys

from gemini2_core.cli.command import Commands
from gemini2_core.cli.options import add_address, address
from gemini2_core.index import MatryoshkaCollection

__all__ = ["add"]


def add(commands: Commands) -> None:
    """Add the commands."""
    switch = commands.add_parser(
        "switch",
        help="make an alias name a new collection that was verified; the old one is kept",
        description="Make an alias name a new collection in one atomic step. It is refused unless "
        "gemini2 verify passed for the collection as it is now. The old one is kept.",
    )
    switch.add_argument("alias", metavar="ALIAS", help="the name that production opens")
    switch.add_argument("new", metavar="NEW", help="the new collection")
    switch.add_argument(
        "--force",
        action="store_true",
        help="without a verification, as for the old collection; never one half filled",
    )
    add_address(switch)
    switch.set_defaults(run=_switch)

    rollback = commands.add_parser(
        "rollback", help="make an alias name the collection it named before the last switch"
    )
    rollback.add_argument("alias", metavar="ALIAS")
    add_address(rollback)
    rollback.set_defaults(run=_rollback)

    drop_old = commands.add_parser(
        "drop-old", help="delete the collection that an alias named before the last switch"
    )
    drop_old.add_argument("alias", metavar="ALIAS")
    drop_old.add_argument("--yes", action="store_true", help="do it; there is no way back")
    add_address(drop_old)
    drop_old.set_defaults(run=_drop_old)


def _switch(options: argparse.Namespace) -> int:
    from gemini2_core.corpus import switch

    new = MatryoshkaCollection(options.new, space=None, **address(options))
    try:
        print(switch(options.alias, new, force=options.force))
    finally:
        new.close()
    return 0


def _rollback(options: argparse.Namespace) -> int:
    from gemini2_core.corpus import rollback

    at = MatryoshkaCollection(options.alias, space=None, **address(options))
    try:
        print(rollback(options.alias, at))
    finally:
        at.close()
    return 0


def _drop_old(options: argparse.Namespace) -> int:
    from gemini2_core.corpus import drop_old, kept_old

    at = MatryoshkaCollection(options.alias, space=None, **address(options))
    try:
        old = kept_old(options.alias, at)
        if old is None:
            print(f"nothing is kept from before {options.alias} was switched")
            return 0
        if not options.yes:
            print(f"gemini2: this would delete {old} at {at.where}: say --yes", file=sys.stderr)
            return 1
        print(f"deleted {drop_old(options.alias, at)}")
    finally:
        at.close()
    return 0
