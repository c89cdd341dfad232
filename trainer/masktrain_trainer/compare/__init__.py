"""Two models on the same media: where they disagree, which is better, and what to label next."""
