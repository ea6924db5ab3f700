"""One turn of conversation, and its doors: command line, HTTP, web page."""
