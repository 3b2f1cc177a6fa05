"""Is a model idle? The verdict, office hours, and what its owner hears."""
