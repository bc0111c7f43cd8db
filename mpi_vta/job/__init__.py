"""The main job on rank 0: from a request to a prepared run, and from its result to what the user sees."""
