"""The page: what a browser shows at `/`."""
