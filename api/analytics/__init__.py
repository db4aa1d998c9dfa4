"""What the figures and the postings say: performance, sites, the job market, and what it costs and brings."""
