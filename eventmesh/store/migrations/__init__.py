"""What Alembic runs to bring the tables of a store up to date."""
