"""How good the bot is, with numbers: suites, metrics, reports."""
