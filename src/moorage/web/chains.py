"""The supply chain drawn from the chains that devices showed, and where a certificate that is dropped in fits."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from starlette.responses import Response

from moorage.errors import Invalid, Refusal, TooLarge
from moorage.fleet.supply_chain import Fit, Node, SupplyChain
from moorage.pki.inputs import parse_certificates
from moorage.web.enrollment_code import chain_acts
from moorage.web.forms import about
from moorage.web.pages import Page, Visit
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices
from moorage.web.tree import draw_tree

__all__ = ["chain_pages"]


def chain_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _Chains(services, renderer)
    return [
        Page("GET", "/certificates/chains", pages.show, "certificates.view"),
        Page("POST", "/certificates/chains", pages.fit, "certificates.view", keeps=True),
    ]


class _Chains:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._services = services
        self._renderer = renderer

    async def show(self, visit: Visit) -> Response:
        return await self._page(visit)

    async def fit(self, visit: Visit) -> Response:
        """Nothing is kept of what is handed in."""
        try:
            visit.check_in_time()
            uploaded = await visit.upload("certificate")
            if not uploaded:
                raise Invalid("form.file", "no file was chosen")
            with about("certificate"):
                certificates = await asyncio.to_thread(parse_certificates, uploaded)
                fit = await self._services.chains.fit(certificates)
        except (Invalid, TooLarge) as refusal:
            return await self._page(visit, problem=refusal)
        return await self._page(visit, fit)

    async def _page(self, visit: Visit, fit: Fit | None = None, problem: Refusal | None = None) -> Response:
        await self._services.sightings.catch_up()
        chain = await self._services.chains.draw(visit.actor)
        now = self._services.clock.now()
        fitting = () if fit is None else (*fit.certificates[:1], *fit.path)
        return await self._renderer.long_page(
            visit,
            "certificates/chains.html",
            HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST,
            chain=chain,
            flat=_flat(chain),
            drawing=draw_tree(chain, now, fitting),
            fit=fit,
            problem=problem,
            as_code=chain_acts(self._services.info()),
            tab="chains",
        )


def _flat(chain: SupplyChain) -> list[tuple[int, Node]]:
    """(depth, node), top down: the drawing as a list."""
    found: list[tuple[int, Node]] = []
    waiting = [(0, root) for root in reversed(chain.roots)]
    while waiting:
        depth, node = waiting.pop()
        found.append((depth, node))
        waiting += [(depth + 1, child) for child in reversed(sorted(node.children, key=lambda each: -each.total))]
    return found
