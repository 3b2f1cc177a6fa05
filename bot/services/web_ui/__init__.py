"""Open WebUI, the web page for talking to the models."""
