"""Finds red flags in what people write, in any wording and at any turn, and checks what goes out. Runs here, with no network."""
