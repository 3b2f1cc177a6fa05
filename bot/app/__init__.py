"""Wiring: settings become adapters, services and platforms; what runs, and the HTTP server."""
