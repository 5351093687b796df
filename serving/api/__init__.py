"""The HTTP interface of the service, one module a topic; docs at /docs of a running service."""
