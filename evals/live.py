"""Opens the bot that is measured; builds its index first where there is none, as `backtalk serve` does."""

from bot.chain import Chain
from bot.open import LiveRetriever, open_chain
from bot.retrieve import Retriever
from bot.settings import Settings
from ingest.cli import BadInput, ingest
from ingest.index import IndexMissing, Store


def open_retriever(settings: Settings) -> Retriever:
    """Return the retriever over the live index.

    Raises:
        BadInput: there is no index and none can be built.
        BadIndex: the index is damaged, or was built with another model.
    """
    ensure_index(settings)
    return LiveRetriever(settings)()


def open_bot(settings: Settings) -> Chain:
    """Return the bot as every door of the product opens it; raises as `open_retriever` does."""
    ensure_index(settings)
    chain = open_chain(settings)
    chain.open_retriever()
    return chain


def ensure_index(settings: Settings) -> None:
    """Build the index if there is none."""
    store = Store(settings.index, url=settings.chroma_url)
    try:
        store.manifest(store.current() or "none")
    except IndexMissing:
        try:
            ingest(settings.kb, store, model=settings.embedding_model, rebuild=False, reviewed_only=settings.reviewed_only, quiet=True)
        except ValueError as error:
            raise BadInput(str(error)) from error
