from ..settings import Settings


def test_a_setting_comes_from_a_variable_or_from_a_file(tmp_path):
    secret = tmp_path / "database-url"
    secret.write_text("sqlite+aiosqlite:///secret.db\n")
    in_file = {"NOTIFICATIONS_DATABASE_URL_FILE": str(secret)}
    assert Settings.from_environment(in_file).database_url == "sqlite+aiosqlite:///secret.db"
    in_variable = {"NOTIFICATIONS_DATABASE_URL": "sqlite+aiosqlite:///other.db"}
    assert Settings.from_environment(in_variable).database_url == "sqlite+aiosqlite:///other.db"
    assert Settings.from_environment({}) == Settings()
