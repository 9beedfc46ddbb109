"""Raw data to the lake: tables, snapshots, importers, query engines."""
