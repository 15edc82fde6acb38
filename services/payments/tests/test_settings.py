from ..settings import Settings


def test_a_setting_comes_from_a_variable_or_from_a_file(tmp_path):
    file = tmp_path / "setting"
    file.write_text("http://one\n")
    in_file = {"PAYMENTS_PROVIDER_URL_FILE": str(file)}
    assert Settings.from_environment(in_file).provider_url == "http://one"
    in_variable = {"PAYMENTS_PROVIDER_URL": "http://other"}
    assert Settings.from_environment(in_variable).provider_url == "http://other"
    assert Settings.from_environment({}) == Settings()
