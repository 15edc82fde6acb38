"""Images, wheels and compose files of services, and the files of a new one."""
