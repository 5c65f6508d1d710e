//! The guide: how to choose, what fails and how, and what is promised against whom.
