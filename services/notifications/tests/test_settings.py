from ..settings import Settings


def test_a_setting_comes_from_a_variable_or_from_a_file(tmp_path):
    file = tmp_path / "setting"
    file.write_text("http://one\n")
    in_file = {"NOTIFICATIONS_SMTP_HOST_FILE": str(file)}
    assert Settings.from_environment(in_file).smtp_host == "http://one"
    in_variable = {"NOTIFICATIONS_SMTP_HOST": "http://other"}
    assert Settings.from_environment(in_variable).smtp_host == "http://other"
    assert Settings.from_environment({}) == Settings()
