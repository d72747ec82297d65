"""The recipe room: takes a YAML file and `key=value` overrides, gives one frozen `Recipe`."""
