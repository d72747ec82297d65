"""The road: the verbs that span the rooms, a file a verb; it gives the command line its work."""
