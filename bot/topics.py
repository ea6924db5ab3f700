"""Narrows answers to some topics of the knowledge base, for a site that embeds the bot for these alone. The guardrail is not narrowed."""

from collections.abc import Collection

from bot.chain import Chain
from bot.retrieve import Retriever
from bot.turn import Passage
from ingest.embed import Vectors

ALWAYS = "red-flags"
"""The topic that says when to get help; no site can leave it out."""
WIDER = 6
"""How many more passages are looked through to fill the places of those left out."""


class NarrowRetriever(Retriever):
    """A retriever that finds passages of some topics only."""

    def __init__(self, whole: Retriever, topics: Collection[str]) -> None:
        """Share everything that `whole` has opened."""
        self.__dict__.update(whole.__dict__)
        self.topics = {*topics, ALWAYS}

    def search(self, query: str, *, top_k: int, vector: Vectors | None = None) -> list[Passage]:
        """Return the passages for `query` that belong to the topics, best first, at most `top_k`."""
        found = super().search(query, top_k=top_k * WIDER, vector=vector)
        kept = [passage for passage in found if passage.chunk.topic in self.topics][:top_k]
        return [Passage(passage.chunk, passage.score, passage.similarity, rank) for rank, passage in enumerate(kept, start=1)]


def narrow(chain: Chain, topics: Collection[str]) -> Chain:
    """Return a chain that answers from these topics only; it checks and escalates as the whole one does."""
    return Chain(lambda: NarrowRetriever(chain.open_retriever(), topics), write=chain.write, model=chain.model, region=chain.region)
