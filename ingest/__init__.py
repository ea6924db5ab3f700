"""From articles to a searchable index: vet, chunk, embed, store."""
