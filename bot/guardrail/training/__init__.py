"""Trains the guardrail's classifier from the messages in data/. Not imported by the running bot."""
