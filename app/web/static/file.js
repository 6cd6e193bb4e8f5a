// Puts a file that was chosen into the field for its text. Without it the text can be pasted.

const field = document.getElementById("file");
const chooser = document.getElementById("chooser");

chooser.hidden = false;
chooser.querySelector("input").addEventListener("change", async (event) => {
  const [file] = event.target.files;
  if (file) field.value = await file.text();
});
