"""The plugin host, and the base classes of plugins: engines, exporters, runtimes and teachers."""
