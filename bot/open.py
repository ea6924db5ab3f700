"""Opens the bot from its settings: the live index, the embedding model, the chat model if one is set."""

import ctypes
import sys
import threading

from bot.chain import Chain
from bot.retrieve import Retriever, read_glossary
from bot.settings import Settings
from bot.trace import StepTracer, is_wanted, start_exporting
from ingest.embed import Embedder, open_embedder
from ingest.index import Index, IndexMissing, Store


class LiveRetriever:
    """Hands out a retriever over the live index, and opens the new one when an ingest has switched the pointer."""

    def __init__(self, settings: Settings) -> None:
        """Remember where to look; nothing is opened before the first call."""
        self.settings = settings
        self.store = Store(settings.index, url=settings.chroma_url)
        self._embedder: Embedder | None = None
        self._retriever: Retriever | None = None
        self._lock = threading.Lock()

    def __call__(self) -> Retriever:
        """Return the retriever of the live build.

        Raises:
            BadIndex: there is no index, it is damaged, or it was built with another model.
        """
        build = self.store.current()
        if self._retriever is not None and build == self._retriever.index.build:
            return self._retriever
        with self._lock:
            if self._retriever is None or build != self._retriever.index.build:
                try:
                    index = Index(self.store, model=self.settings.embedding_model)
                except IndexMissing:
                    if self._retriever is not None:
                        # A pointer that leads nowhere must not take down an index that still answers.
                        return self._retriever
                    raise
                self._embedder = self._embedder or open_embedder(self.settings.embedding_model, models=self.store.models)
                self._retriever = Retriever(index, self._embedder, glossary=read_glossary(self.settings.kb))
                _give_back_memory()
            return self._retriever


def _give_back_memory() -> None:
    """Return to the system what opening an index and the models took and freed, 20 to 35 MB, which glibc would keep."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim:
        trim(0)


def open_chain(settings: Settings) -> Chain:
    """Build the chain for these settings; the index and models are opened at the first turn.

    Raises:
        BadSetting: a chat model is set that cannot be opened.
    """
    write = second_opinion = None
    if settings.llm:
        # Its libraries take seconds to import; without a model nothing of them is touched.
        from bot.second_opinion import SecondOpinion
        from bot.write import ModelWriter, open_model

        model = open_model(settings)
        write = ModelWriter(model, settings.llm)
        second_opinion = SecondOpinion(model) if settings.llm_second_opinion else None
    chain = Chain(LiveRetriever(settings), write=write, second_opinion=second_opinion, region=settings.region)
    if is_wanted():
        start_exporting()
        chain.line = chain.line.with_config(callbacks=[StepTracer()])
    return chain
