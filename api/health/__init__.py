"""Health: of the machine, of the services that scrapewatch leans on, and of the sites."""
