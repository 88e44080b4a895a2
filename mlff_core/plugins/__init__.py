"""How plugins are found and what they implement: engines, exporters, runtimes and teachers."""
