"""Fits the head that tells answerable questions from others. Not imported by the running bot."""
