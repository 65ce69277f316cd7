"""Who answers the questions of rules: detectors, questions on pictures, judges, embeddings."""
