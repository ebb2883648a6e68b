"""The suites side by side, for our validator and for mutants that have to fail."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Final

from moorage.errors import Unauthenticated
from moorage.pki.certificates import PeerChain
from moorage.pki.validator import Validator
from tests.conformance import limbo, pkits
from tests.conformance.score import Score, judge

__all__ = ["MUTANTS", "honest", "run", "run_pkits"]


def honest(validator: Validator, sent: PeerChain, now: datetime) -> None:
    validator.validate(sent, now)


def _refuse(validator: Validator, sent: PeerChain, now: datetime) -> None:
    raise Unauthenticated("chain.untrusted", "a validator that refuses everything is never wrong to accept")


def _accept(validator: Validator, sent: PeerChain, now: datetime) -> None:
    return


MUTANTS: Final = {"refuses everything": _refuse, "accepts everything": _accept}


def run(file: Path, how: limbo.Judge) -> list[Score]:
    """Raises `NotAvailable`."""
    return [judge("x509-limbo", limbo.limbo_cases(file, how), limbo.LEFT_OUT, limbo.WAIVERS), run_pkits(how)]


def run_pkits(how: pkits.Judge) -> Score:
    return judge("NIST PKITS", pkits.pkits_cases(how), pkits.LEFT_OUT, pkits.WAIVERS)
