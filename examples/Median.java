import java.nio.file.Files;
import java.nio.file.Path;

/** Prints the median of the numbers in a file, one number on each line. */
public class Median {
    public static void main(String[] args) throws Exception {
        double[] numbers = Files.lines(Path.of(args[0])).mapToDouble(Double::parseDouble).sorted().toArray();
        int middle = numbers.length / 2;
        double median = numbers.length % 2 == 1 ? numbers[middle] : (numbers[middle - 1] + numbers[middle]) / 2;
        System.out.println("median " + median);
    }
}
