from ..settings import Settings


def test_a_setting_comes_from_a_variable_or_from_a_file(tmp_path):
    file = tmp_path / "setting"
    file.write_text("http://one\n")
    in_file = {"ORDERS_CARRIER_URL_FILE": str(file)}
    assert Settings.from_environment(in_file).carrier_url == "http://one"
    in_variable = {"ORDERS_CARRIER_URL": "http://other"}
    assert Settings.from_environment(in_variable).carrier_url == "http://other"
    assert Settings.from_environment({}) == Settings()
