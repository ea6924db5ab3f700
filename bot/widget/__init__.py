"""The support widget: `widget.js`, which other sites embed with one tag, and the routes that serve it."""
