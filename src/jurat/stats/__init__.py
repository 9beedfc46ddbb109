"""Pure statistics: arrays in, frozen results out, a question a file."""
