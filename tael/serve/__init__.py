"""Take an engine; give an HTTP service that meters every request, and the bill; used by road."""
