"""Studies: many points planned and predicted, spread over ranks, kept in one file, compared."""
